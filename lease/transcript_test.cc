// Runs testdata/*.txt: one leader's leases told as stories. Times are seconds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lease/lease_table.h"
#include "lease/lessor.h"
#include "test/datadriven/datadriven.h"

namespace cairn::lease {
namespace {

using datadriven::Command;

// A table and a lessor as a member has them, with a log that a story commits by hand.
class Storyteller {
 public:
  std::string Handle(const Command& command) {
    if (const auto at = command.Option("at")) {
      now_ms_ = static_cast<Milliseconds>(std::strtod(std::string(*at).c_str(), nullptr) * 1000);
    }
    if (command.name == "member") return Member(command);
    if (command.name == "promote") return lessor_->Promote(now_ms_), Confirm();
    if (command.name == "demote") return lessor_->Demote(), "";
    if (command.name == "unconfirmed") return lessor_->Confirm(0), "";
    if (command.name == "confirmed") return Confirm();
    if (command.name == "grant") return Grant(command);
    if (command.name == "revoke") return table_.Remove(Id(command, 0)), Update();
    if (command.name == "begin-end") return BeginEnd(command);
    if (command.name == "attach") return Attach(command);
    if (command.name == "renew") return Renew(command);
    if (command.name == "due") return Due(command);
    if (command.name == "refused") return Refused();
    if (command.name == "checkpoint") return Checkpoint();
    if (command.name == "clear") return Clear(command);
    if (command.name == "apply") return Apply();
    if (command.name == "show") return Show();
    return "no such command";
  }

 private:
  // What an entry deletes of one lease.
  static constexpr int kKeysPerEntry = 100;

  static LeaseId Id(const Command& command, size_t position) {
    return LeaseId(static_cast<int64_t>(command.Number(position, 0)));
  }

  std::string Member(const Command& command) {
    LessorOptions options;
    if (const auto interval = command.Option("interval")) {
      options.checkpoint_interval_ms = std::atoll(std::string(*interval).c_str()) * 1000;
    }
    table_ = LeaseTable();
    lessor_ = std::make_unique<Lessor>(options);
    entry_ = 0;
    pending_.clear();
    return "";
  }

  std::string Confirm() { return lessor_->Confirm(Lessor::kForEver), ""; }

  std::string Update() {
    lessor_->Update(Index(entry_), table_.TakeUpdates(), now_ms_);
    return "";
  }

  std::string Grant(const Command& command) {
    const bool is_new =
        table_.Grant(Id(command, 0), Index(++entry_), static_cast<int64_t>(command.Number(1, 0)));
    Update();
    return is_new ? "" : "exists";
  }

  // A revocation that does not come to the end of the keys.
  std::string BeginEnd(const Command& command) {
    ++entry_;
    table_.BeginEnd(Id(command, 0));
    return Update();
  }

  std::string Attach(const Command& command) {
    ++entry_;
    for (uint64_t n = command.Number(1, 1); n > 0; --n) table_.Attach(Id(command, 0));
    return Update();
  }

  std::string Renew(const Command& command) {
    const Renewal renewal = lessor_->Renew(Id(command, 0), now_ms_);
    switch (renewal.result) {
      case RenewResult::kRenewed:
        return fmt::format("renewed, {} s", renewal.ttl_s);
      case RenewResult::kNoSuchLease:
        return "no such lease";
      case RenewResult::kNotPrimary:
        return "not primary";
      case RenewResult::kRevoking:
        return "waits: revoking";
      case RenewResult::kClearing:
        return "waits: clearing";
    }
    return "";
  }

  std::string Due(const Command& command) {
    due_ = lessor_->TakeDue(now_ms_, static_cast<int64_t>(command.Number(0, 500)));
    if (due_.empty()) return "none";
    std::string text = "proposes";
    for (const LeaseName& name : due_) text += fmt::format(" {}", name.id.value());
    ++entry_;
    pending_.push_back([this, due = due_] {
      for (const LeaseName& name : due) {
        if (!table_.Holds(name)) continue;
        for (int n = 0; n < kKeysPerEntry && table_.Find(name.id)->key_count > 0; ++n) {
          table_.Detach(name.id);
        }
        if (table_.Find(name.id)->key_count == 0) {
          table_.Remove(name.id);
        } else {
          table_.BeginEnd(name.id);
        }
      }
    });
    return text;
  }

  std::string Refused() {
    --entry_;
    pending_.pop_back();
    lessor_->RefusedDue(due_, now_ms_);
    return "";
  }

  std::string Checkpoint() {
    const std::vector<CheckpointItem> items = lessor_->TakeCheckpoints(now_ms_, 1000);
    if (items.empty()) return "none";
    lessor_->ProposedCheckpoints(items, Index(++entry_));
    std::string text = "proposes";
    for (const CheckpointItem& item : items) {
      text += fmt::format(" {} with {} s", item.name.id.value(), item.remaining_ms / 1000);
    }
    pending_.push_back([this, items] {
      for (const CheckpointItem& item : items) table_.Checkpoint(item.name, item.remaining_ms);
    });
    return text;
  }

  std::string Clear(const Command& command) {
    const std::vector<LeaseName> names =
        lessor_->TakeClears(now_ms_, static_cast<size_t>(command.Number(0, 1000)));
    if (names.empty()) return "none";
    ++entry_;
    std::string text = "proposes";
    for (const LeaseName& name : names) text += fmt::format(" {}", name.id.value());
    pending_.push_back([this, names] {
      for (const LeaseName& name : names) table_.Clear(name);
    });
    return text;
  }

  // Everything that was proposed.
  std::string Apply() {
    for (const auto& effect : pending_) effect();
    pending_.clear();
    return Update();
  }

  std::string Show() {
    std::vector<LeaseView> leases = lessor_->All(now_ms_);
    std::sort(leases.begin(), leases.end(), [](const LeaseView& a, const LeaseView& b) {
      return std::pair(a.remaining_ms, a.id) < std::pair(b.remaining_ms, b.id);
    });
    std::string text;
    for (const LeaseView& view : leases) {
      text += fmt::format("{}: of {} s", view.id.value(), view.facts.ttl_s);
      if (view.remaining_ms.has_value()) {
        text += fmt::format(", {} s left", static_cast<double>(*view.remaining_ms) / 1000);
      }
      if (view.facts.checkpoint_ms.has_value()) {
        text += fmt::format(", checkpoint {} s", *view.facts.checkpoint_ms / 1000);
      }
      if (view.facts.key_count > 0) text += fmt::format(", {} keys", view.facts.key_count);
      if (view.is_revoking) text += ", revoking";
      text += "\n";
    }
    return text.empty() ? "none" : text;
  }

  Milliseconds now_ms_ = 0;
  LeaseTable table_;
  std::unique_ptr<Lessor> lessor_;
  uint64_t entry_ = 0;
  std::vector<LeaseName> due_;
  std::vector<std::function<void()>> pending_;
};

class TranscriptTest : public testing::TestWithParam<const char*> {};

TEST_P(TranscriptTest, Holds) {
  Storyteller teller;
  datadriven::RunTranscript(fmt::format("lease/testdata/{}.txt", GetParam()),
                            [&](const Command& command) { return teller.Handle(command); });
}

INSTANTIATE_TEST_SUITE_P(All, TranscriptTest, testing::Values("expiry", "checkpoint", "lead"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace cairn::lease
