#include "test/sim/counts.h"

#include <fmt/format.h>

namespace cairn::sim {
namespace {

constexpr std::array<std::string_view, kWhats> kNames = {
    "entries applied",
    "proposals acknowledged",
    "proposals refused",
    "forwarded proposals refused",
    "reads",
    "elections",
    "transfers",
    "restarts",
    "log reads",
    "flushes",
    "segments removed",
    "compactions",
    "removal steps",
    "snapshots sent",
    "snapshots installed",
    "snapshots not wanted",
    "voters added",
    "learners added",
    "learners promoted",
    "members removed",
    "joint changes",
    "members joined",
    "leases granted",
    "leases renewed",
    "renewals forwarded",
    "renewals of ended leases",
    "leases expired",
    "leases revoked",
    "leases checkpointed",
    "watches created",
    "watch events",
    "watch progress",
    "watches compacted",
    "watches resumed",
    "history steps",
    "messages lost",
    "messages repeated",
    "messages late",
    "one-way cuts",
    "pairs cut",
    "members isolated",
    "clusters split",
    "members clogged",
    "processes killed",
    "power cuts",
    "power cuts of all",
    "processes paused",
    "ticks lost",
    "clocks changed",
    "slow disks",
    "full disks",
    "slow appliers",
    "torn tails",
    "bits flipped",
    "flips refused",
    "log reads failed",
    "snapshots failed",
    "installations cut",
    "slow clients",
    "stalled leaders",
};
static_assert(!kNames.back().empty());

}  // namespace

std::string_view NameOf(What what) { return kNames.at(static_cast<size_t>(what)); }

std::string Counts::Text() const {
  std::string text = "done:";
  for (size_t i = 0; i < kWhats; ++i) {
    if (i == static_cast<size_t>(kFirstFault)) text += "\nfaults:";
    text += fmt::format(" {} {};", kNames.at(i), counts_.at(i));
  }
  return text;
}

std::string Counts::Missing() const {
  std::string text;
  for (size_t i = 0; i < kWhats; ++i) {
    if (counts_.at(i) == 0) text += fmt::format("{}{}", text.empty() ? "" : ", ", kNames.at(i));
  }
  return text;
}

}  // namespace cairn::sim
