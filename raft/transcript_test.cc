// Runs testdata/*.txt: whole groups told as stories (README.md, "How to read the transcripts").
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "raft/test_cluster.h"
#include "test/datadriven/datadriven.h"

namespace cairn::raft {
namespace {

using datadriven::Command;

constexpr size_t kAll = std::numeric_limits<size_t>::max();

std::string_view OutcomeName(ProposeOutcome outcome) {
  switch (outcome) {
    case ProposeOutcome::kAccepted:
      return "accepted";
    case ProposeOutcome::kForwarded:
      return "forwarded";
    case ProposeOutcome::kNoLeader:
      return "dropped: no leader";
    case ProposeOutcome::kTransferUnderWay:
      return "dropped: handing over";
    case ProposeOutcome::kTooManyUncommitted:
      return "dropped: too many uncommitted";
    case ProposeOutcome::kConfigurationPending:
      return "dropped: a change is under way";
    case ProposeOutcome::kNotForwarded:
      return "dropped: not the leader";
  }
  return "";
}

class Storyteller {
 public:
  std::string Handle(const Command& command) {
    if (command.name == "group") return Group(command);
    Drain();
    cluster_->story.clear();
    std::string answer = Answer(command);
    Drain();
    for (const std::string& line : cluster_->story) answer += line + "\n";
    if (!cluster_->violation().empty()) answer += "VIOLATION " + cluster_->violation() + "\n";
    return answer;
  }

 private:
  std::string Group(const Command& command) {
    TestCluster::Options options;
    std::string text;
    for (const auto& [key, value] : command.options) {
      const uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
      if (key == "append_bytes") {
        options.core.append_bytes_max = number;
      } else if (key == "inflight_bytes") {
        options.core.inflight_bytes_max = number;
      } else if (key == "tail_bytes") {
        options.core.tail_bytes_max = number;
      } else if (key == "uncommitted_bytes") {
        options.core.uncommitted_bytes_max = number;
      } else {
        text += (text.empty() ? "" : " ") + key + "=" + value;
      }
    }
    cluster_ = std::make_unique<TestCluster>(options, DecodeConfiguration(text));
    cluster_->keeps_story = true;
    return {};
  }

  void Drain() {
    for (const MemberId id : cluster_->ids()) {
      if (cluster_->member(id).is_up()) cluster_->member(id).Drain();
    }
  }

  std::string Answer(const Command& command) {
    const MemberId id(command.Number(0, 0));
    if (command.name == "stabilize") return cluster_->Stabilize(), std::string();
    if (command.name == "heal") return cluster_->Heal(), std::string();
    if (command.name == "drop-all") return cluster_->network().clear(), std::string();
    if (command.name == "network") return Network();
    if (command.name == "deliver") return Deliver(command);
    if (!cluster_->has(id)) return fmt::format("no member {}", id);
    TestMember& member = cluster_->member(id);
    if (command.name == "restart") return member.Restart(id.value(), 0), std::string();
    if (command.name == "crash") return member.Crash(command.Number(1, 0)), std::string();
    if (command.name == "isolate") return Isolate(id);
    if (command.name == "elect") return cluster_->Elect(id), std::string();
    if (command.name == "write") return member.CompleteWrites(command.Number(1, kAll)), "";
    if (command.name == "apply") return member.Apply(command.Number(1, kAll)), std::string();
    if (command.name == "flush") return member.Flush(), std::string();
    if (command.name == "compact") return member.Compact(Index(command.Number(1, 0))), "";
    if (command.name == "read") return cluster_->Read(id, command.Number(1, 0)), Reads();
    if (command.name == "reads") return Reads();
    if (command.name == "status") return Status(member);
    if (command.name == "log") return LogOf(member);
    return Input(member, command);
  }

  std::string Input(TestMember& member, const Command& command) {
    std::string answer;
    member.Input([&](Core& core) {
      if (command.name == "tick") {
        for (uint64_t i = 0; i < command.Number(1, 1); ++i) core.Tick();
      } else if (command.name == "propose") {
        std::vector<Proposal> proposals;
        for (size_t i = 1; i < command.arguments.size(); ++i) {
          proposals.push_back(
              {EntryKind::kCommand, std::make_shared<const std::string>(command.arguments[i])});
        }
        answer = Propose(core, std::move(proposals));
      } else if (command.name == "change") {
        std::string text;
        for (const auto& [key, value] : command.options) {
          text += (text.empty() ? "" : " ") + key + "=" + value;
        }
        answer = Propose(core, {{EntryKind::kConfiguration,
                                 std::make_shared<const std::string>(std::move(text))}});
      } else if (command.name == "transfer") {
        const bool is_started = core.TransferLeadership(MemberId(command.Number(1, 0)));
        answer = is_started ? "" : "refused\n";
      } else if (command.name == "unreachable") {
        core.ReportUnreachable(MemberId(command.Number(1, 0)));
      } else {
        answer = "no such command: " + command.name + "\n";
      }
    });
    return answer;
  }

  std::string Propose(Core& core, std::vector<Proposal> proposals) {
    const ProposeResult result = core.Propose(std::move(proposals));
    if (result.outcome != ProposeOutcome::kAccepted) {
      return fmt::format("{}\n", OutcomeName(result.outcome));
    }
    return fmt::format("accepted at {}/{}\n", result.term, result.first_index);
  }

  std::string Isolate(MemberId id) {
    for (const MemberId other : cluster_->ids()) {
      cluster_->Block(id, other);
      cluster_->Block(other, id);
    }
    return {};
  }

  // Everything that is under way now, or with from=/to= only that.
  std::string Deliver(const Command& command) {
    std::string from(command.Option("from").value_or(""));
    std::string to(command.Option("to").value_or(""));
    for (size_t position = 0, left = cluster_->network().size(); left > 0; --left) {
      const Message& message = cluster_->network().at(position);
      const bool is_wanted = (from.empty() || fmt::format("{}", message.from) == from) &&
                             (to.empty() || fmt::format("{}", message.to) == to);
      if (is_wanted) {
        cluster_->Deliver(position);
      } else {
        ++position;
      }
    }
    return {};
  }

  std::string Network() {
    std::string text;
    for (const Message& message : cluster_->network()) text += DescribeMessage(message) + "\n";
    return text;
  }

  std::string Reads() {
    std::string text;
    for (const auto& [context, index] : cluster_->reads_answered) {
      text += fmt::format("read {} at {}\n", context, index);
    }
    for (const uint64_t context : cluster_->reads_refused) {
      text += fmt::format("read {} refused\n", context);
    }
    return text;
  }

  std::string Status(TestMember& member) {
    if (!member.is_up()) return "down\n";
    const CoreStatus s = member.core().Status();
    std::string text =
        fmt::format("{} at term {}, leader {}; last {}/{}, durable {}, commit {}, applied {}; {}\n",
                    RoleName(s.role), s.term, s.leader, s.last.term, s.last.index, s.durable,
                    s.commit, s.applied, EncodeConfiguration(s.configuration));
    for (const PeerStatus& peer : s.peers) {
      text +=
          fmt::format("  {}{} {} match {} next {}\n", peer.id, peer.is_learner ? "(learner)" : "",
                      ProgressStateName(peer.state), peer.match, peer.next);
    }
    return text;
  }

  std::string LogOf(TestMember& member) {
    std::string text = fmt::format("after {}/{}:", member.marker().term, member.marker().index);
    for (const Entry& entry : member.disk()) text += " " + DescribeEntry(entry);
    return text + "\n";
  }

  std::unique_ptr<TestCluster> cluster_;
};

class Transcript : public testing::TestWithParam<const char*> {};

TEST_P(Transcript, ReadsAsWritten) {
  Storyteller storyteller;
  datadriven::RunTranscript(fmt::format("raft/testdata/{}.txt", GetParam()),
                            [&](const Command& command) { return storyteller.Handle(command); });
}

INSTANTIATE_TEST_SUITE_P(All, Transcript,
                         testing::Values("crash", "election", "learner", "membership", "one_member",
                                         "pipeline", "read_index", "read_index_learner",
                                         "read_index_rounds", "replication", "snapshot",
                                         "stray_term", "transfer", "two_changes"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace cairn::raft
