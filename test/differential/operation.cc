#include "test/differential/operation.h"

#include <fmt/format.h>

#include <array>

namespace cairn::test {
namespace {

// Longer texts are values of several KiB, which say nothing to a reader.
constexpr size_t kDescribedMax = 6000;

std::string Cut(std::string text) {
  if (text.size() <= kDescribedMax) return text;
  return fmt::format("{}... ({} bytes)", text.substr(0, kDescribedMax), text.size());
}

const google::protobuf::Message& MessageOf(const Operation& operation) {
  return std::visit(
      [](const auto& request) -> const google::protobuf::Message& {
        if constexpr (std::is_same_v<std::decay_t<decltype(request)>, RangeStream>) {
          return request.request;
        } else {
          return request;
        }
      },
      operation);
}

}  // namespace

std::string_view NameOf(const Operation& operation) {
  static constexpr std::array<std::string_view, std::variant_size_v<Operation>> kNames = {
      "Range",           "RangeStream", "Put",        "DeleteRange", "Txn",
      "Compact",         "HashKV",      "LeaseGrant", "LeaseRevoke", "LeaseKeepAlive",
      "LeaseTimeToLive", "LeaseLeases"};
  return kNames[operation.index()];
}

std::string Describe(const Operation& operation) {
  return Cut(fmt::format("{} {{ {}}}", NameOf(operation), MessageOf(operation).ShortDebugString()));
}

std::string Describe(const Outcome& outcome) {
  if (outcome.code != 0) return fmt::format("error {} \"{}\"", outcome.code, outcome.text);
  return Cut(std::visit([](const auto& response) { return response.ShortDebugString(); },
                        outcome.response));
}

const etcdserverpb::ResponseHeader& HeaderOf(const Response& response) {
  return std::visit(
      [](const auto& message) -> const etcdserverpb::ResponseHeader& { return message.header(); },
      response);
}

}  // namespace cairn::test
