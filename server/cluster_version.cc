#include "server/cluster_version.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/errors.h"

namespace cairn::server {

namespace {

using api::Error;

// Takes a number off the front of `text`.
bool TakeNumber(std::string_view& text, uint32_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool TakeDot(std::string_view& text) {
  if (!text.starts_with('.')) return false;
  text.remove_prefix(1);
  return true;
}

bool IsJustBelow(const Version& lower, const Version& upper) {
  return lower.major_number == upper.major_number && upper.minor_number > 0 &&
         lower.minor_number == upper.minor_number - 1 && lower.patch_number == 0;
}

// None unless all are known.
std::optional<Version> LowestOf(const std::vector<std::optional<Version>>& members) {
  std::optional<Version> lowest;
  for (const std::optional<Version>& member : members) {
    if (!member.has_value()) return std::nullopt;
    if (!lowest.has_value() || *member < *lowest) lowest = member;
  }
  return lowest;
}

}  // namespace

std::optional<Version> ParseVersion(std::string_view text) {
  text = text.substr(0, text.find_first_of("-+"));
  Version version;
  const bool parses = TakeNumber(text, version.major_number) && TakeDot(text) &&
                      TakeNumber(text, version.minor_number) && TakeDot(text) &&
                      TakeNumber(text, version.patch_number) && text.empty();
  return parses ? std::optional(version) : std::nullopt;
}

Version ClusterVersionOf(const Version& version) {
  return {version.major_number, version.minor_number, 0};
}

std::string FullText(const Version& version) {
  return fmt::format("{}.{}.{}", version.major_number, version.minor_number, version.patch_number);
}

std::string ShortText(const Version& version) {
  return fmt::format("{}.{}", version.major_number, version.minor_number);
}

std::optional<Version> DecideClusterVersion(const std::optional<Version>& current,
                                            const std::vector<std::optional<Version>>& members,
                                            const std::optional<Version>& downgrade_target) {
  const std::optional<Version> lowest = LowestOf(members);
  if (!current.has_value()) return ClusterVersionOf(lowest.value_or(kMinClusterVersion));
  if (!lowest.has_value()) return std::nullopt;
  if (downgrade_target.has_value()) {
    const bool may_go_down =
        IsJustBelow(*downgrade_target, *current) && IsJustBelow(*downgrade_target, *lowest);
    return may_go_down ? downgrade_target : std::nullopt;
  }
  const Version speaks = ClusterVersionOf(*lowest);
  const bool may_go_up = speaks.major_number == current->major_number && *current < speaks;
  return may_go_up ? std::optional(speaks) : std::nullopt;
}

std::optional<Version> ParseDowngradeTarget(std::string_view text) {
  std::optional<Version> version = ParseVersion(text);
  if (!version.has_value()) version = ParseVersion(std::string(text) + ".0");
  if (!version.has_value()) return std::nullopt;
  return ClusterVersionOf(*version);
}

absl::Status CheckDowngrade(const std::optional<Version>& current, const Version& target,
                            const std::optional<Version>& downgrade_target) {
  if (!current.has_value()) return api::ToStatus(Error::kClusterVersionUnavailable);
  if (!IsJustBelow(target, *current)) return api::ToStatus(Error::kInvalidDowngradeTarget);
  if (downgrade_target.has_value()) return api::ToStatus(Error::kDowngradeInProgress);
  return absl::OkStatus();
}

bool IsDowngradeDone(const std::vector<std::optional<Version>>& members, const Version& target) {
  return std::all_of(members.begin(), members.end(), [&](const std::optional<Version>& member) {
    return member.has_value() && ClusterVersionOf(*member) == target;
  });
}

}  // namespace cairn::server
