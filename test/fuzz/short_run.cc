// Plays a target's seeds and a fixed run of mutations of them: a test like any other.
#include <random>
#include <string>
#include <vector>

#include "test/fuzz/fuzz.h"

namespace cairn::test {
namespace {

constexpr int kRounds = 4000;

// One to four changes: a bit, a byte, a cut, a piece taken from elsewhere.
void Mutate(std::mt19937_64& random, std::string& input) {
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    if (input.empty()) input.push_back(static_cast<char>(random()));
    const size_t at = below(input.size());
    switch (below(5)) {
      case 0:
        input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        input[at] = static_cast<char>(random());
        break;
      case 2:
        input.resize(at);
        break;
      case 3:
        input.insert(at, input.substr(below(input.size()), below(16)));
        break;
      default:
        input.erase(at, 1 + below(8));
        break;
    }
  }
}

}  // namespace
}  // namespace cairn::test

int main() {
  const std::vector<std::string> seeds = cairn::test::FuzzSeeds();
  for (const std::string& seed : seeds) cairn::test::Fuzz(seed);
  cairn::test::Fuzz("");
  std::mt19937_64 random(3);
  for (int round = 0; round < cairn::test::kRounds; ++round) {
    std::string input = seeds[random() % seeds.size()];
    cairn::test::Mutate(random, input);
    cairn::test::Fuzz(input);
  }
  return 0;
}
