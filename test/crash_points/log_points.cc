#include "test/crash_points/log_points.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fail_point.h"
#include "base/status.h"
#include "wal/format.h"
#include "wal/log_model.h"
#include "wal/test_log.h"

namespace cairn::crash_points {

namespace {

using wal::Append;
using wal::FaultDisk;
using wal::FaultFs;
using wal::FaultOperation;
using wal::FaultStep;
using wal::LogModel;
using wal::Wal;

constexpr wal::Options kOptions{.segment_bytes = wal::kSegmentBytesMin};

// What whoever writes the log may rely on at one moment.
struct Promise {
  bool is_created = false;
  // The last acknowledged version and everything written since.
  std::vector<std::shared_ptr<const LogModel>> versions = {std::make_shared<LogModel>()};
  // Differs whenever the two above do.
  uint64_t number = 0;
};

// Starts the log on images of its disk.
class LogStarter {
 public:
  LogStarter(const Bounds& bounds, Report& report) : bounds_(bounds), report_(report) {}

  // Everything that a crash right before `step` may leave.
  void Visit(const FaultStep& step, const FaultDisk& before, const Promise& promise) {
    if (!report_.violation().empty()) return;
    Report::Row& row = report_.At(step);
    row_ = &row;
    where_ = fmt::format("crash before {}: {}", report_.phase(), DescribeStep(step));
    ++row.points;
    ++points_;
    const std::vector<std::string> effects = before.Unsynced();
    for (const std::vector<bool>& kept : Subsets(effects.size(), bounds_, points_)) {
      ++row.outcomes;
      FaultDisk image = before;
      image.CrashKeeping(kept);
      if (!report_.IsNewImage(image.Fingerprint(), promise.number)) continue;
      kept_ = fmt::format("; a power cut keeps {}", Names(effects, kept));
      StartFrom(image, promise);
    }
    // Only the process dies: all is there to read, and what was not synced is not on the disk yet.
    ++row.outcomes;
    kept_ = "; the process is killed";
    StartFrom(before, promise);
  }

 private:
  // What a start found.
  struct Found {
    std::unique_ptr<Wal> wal;
    wal::Recovered recovered;
    const LogModel* model = nullptr;  // One of the promise's.
  };
  // What a start cut off.
  struct Cut {
    std::string segment;
    std::string bytes;
  };

  static std::string Names(const std::vector<std::string>& effects, const std::vector<bool>& kept) {
    std::string names;
    for (size_t i = 0; i < effects.size(); ++i) {
      if (kept[i]) names += (names.empty() ? "" : ", ") + effects[i];
    }
    return names.empty() ? "nothing" : names;
  }

  void Fail(std::string_view what) {
    report_.Violation(fmt::format("{}{}{}: {}", where_, kept_, again_, what));
  }

  std::optional<Found> Open(FaultFs& fs, const Promise& promise) {
    ++row_->recoveries;
    auto opened = Wal::Open(fs, wal::kTestDirectory, kOptions, wal::kTestIdentity);
    if (absl::IsNotFound(opened.status()) && !promise.is_created) {
      opened = Wal::Create(fs, wal::kTestDirectory, kOptions, wal::kTestIdentity);
    }
    if (!opened.ok()) {
      Fail(fmt::format("refused: {}", base::Message(opened.status())));
      return std::nullopt;
    }
    Found found{std::move(opened->wal), std::move(opened->recovered), nullptr};
    std::string differences;
    for (const auto& version : promise.versions) {
      const std::string difference = Difference(*version, found.recovered, *found.wal);
      if (difference.empty()) {
        found.model = version.get();
        return found;
      }
      differences += (differences.empty() ? "" : "; ") + difference;
    }
    Fail(fmt::format("it has none of {} versions: {}", promise.versions.size(), differences));
    return std::nullopt;
  }

  void StartFrom(const FaultDisk& image, const Promise& promise) {
    if (!report_.violation().empty()) return;
    ++row_->images;
    again_.clear();
    const bool is_deep = ++images_ % bounds_.deep_every == 0;
    struct Moment {
      std::string step;
      FaultDisk before;
    };
    std::vector<Moment> moments;
    FaultFs fs(image);
    if (is_deep) {
      fs.set_step_observer([&](const FaultStep& step, const FaultDisk& before) {
        moments.push_back({DescribeStep(step), before});
      });
    }
    std::optional<Found> found = Open(fs, promise);
    fs.set_step_observer(nullptr);
    if (!found.has_value()) return;
    const std::optional<Cut> cut = CutOff(image, found->recovered);
    GoOn(fs, *found, promise);
    // Over the power cuts, too.
    if (cut.has_value()) CheckKept(fs.Contents(), *cut);
    for (const Moment& moment : moments) {
      const size_t effects = moment.before.Unsynced().size();
      for (const std::vector<bool>& kept : FewSubsets(effects, bounds_.deep_subsets, images_)) {
        if (!report_.violation().empty()) return;
        again_ = fmt::format("; in the recovery another before {}", moment.step);
        FaultDisk again = moment.before;
        again.CrashKeeping(kept);
        FaultFs next(std::move(again));
        if (Open(next, promise).has_value() && cut.has_value()) CheckKept(next.Contents(), *cut);
      }
    }
  }

  // A power cut right after the start finds the same, and what is written then is there after
  // another.
  void GoOn(FaultFs& fs, Found& found, const Promise& promise) {
    Promise exact = promise;
    exact.is_created = true;
    exact.versions = {std::make_shared<LogModel>(*found.model)};
    found.wal.reset();
    fs.CrashKeepingNothing();
    again_ = "; another when the start is done";
    std::optional<Found> same = Open(fs, exact);
    if (!same.has_value()) return;
    if (same->recovered.torn_tail_cut) return Fail("a second start cuts again");
    LogModel model = *exact.versions.front();
    const Append next = wal::EntriesOf(model.last() + 1, model.last() + 1,
                                       std::max<uint64_t>(1, model.last_term()), 100);
    model.Apply(next);
    exact.versions = {std::make_shared<LogModel>(std::move(model))};
    if (const absl::Status status = WriteAndSync(*same->wal, next); !status.ok()) {
      return Fail(fmt::format("it does not go on: {}", base::Message(status)));
    }
    same->wal.reset();
    fs.CrashKeepingNothing();
    again_ = "; another after the next write";
    Open(fs, exact);
  }

  static std::optional<Cut> CutOff(const FaultDisk& image, const wal::Recovered& recovered) {
    if (!recovered.torn_tail_cut) return std::nullopt;
    const std::string path = fmt::format("{}/{}", wal::kTestDirectory, recovered.torn_segment);
    return Cut{recovered.torn_segment,
               image.Contents().at(path).substr(recovered.torn_offset, recovered.torn_bytes)};
  }

  void CheckKept(const std::map<std::string, std::string>& contents, const Cut& cut) {
    const std::string prefix = fmt::format("{}/{}.broken.", wal::kTestDirectory, cut.segment);
    for (const auto& [path, content] : contents) {
      if (path.starts_with(prefix) && content == cut.bytes) return;
    }
    Fail(fmt::format("{} bytes that were cut off {} are nowhere", cut.bytes.size(), cut.segment));
  }

  const Bounds bounds_;
  Report& report_;
  Report::Row* row_ = nullptr;
  uint64_t points_ = 0;
  uint64_t images_ = 0;
  // The words of a violation.
  std::string where_;
  std::string kept_;
  std::string again_;
};

// The script.
class LogLife {
 public:
  LogLife(const Bounds& bounds, Report& report) : report_(report), starter_(bounds, report) {
    fs_.set_step_observer([this](const FaultStep& step, const FaultDisk& before) {
      CheckWrittenOnce(step, before);
      is_visiting_ = true;
      starter_.Visit(step, before, promise_);
      is_visiting_ = false;
    });
  }
  ~LogLife() { fs_.set_step_observer(nullptr); }

  void Play() {
    Create();
    Grow();
    Trim();
    Supersede();
    Restart();
    Tear();
    Install();
  }

 private:
  bool has_failed() const { return !report_.violation().empty(); }
  void Expect(const absl::Status& status, std::string_view what) {
    if (!status.ok()) report_.Violation(fmt::format("{}: {}", what, base::Message(status)));
  }
  const LogModel& model() const { return *promise_.versions.back(); }
  uint64_t last() const { return model().last(); }
  uint64_t term() const { return std::max<uint64_t>(1, model().last_term()); }

  // README, invariant 2.
  void CheckWrittenOnce(const FaultStep& step, const FaultDisk& before) {
    if (step.operation != FaultOperation::kWrite || !step.path.ends_with(".wal")) return;
    const std::string content = before.Contents().at(std::string(step.path));
    for (size_t at = 0; at < step.bytes.size(); at += wal::kSectorBytes) {
      const std::string_view next = step.bytes.substr(at, wal::kSectorBytes);
      const std::string_view old =
          std::string_view(content).substr(step.offset_bytes + at, next.size());
      if (!wal::IsAllZero(next) && !wal::IsAllZero(old) && next != old) {
        report_.Violation(fmt::format("{}: {} at {} is written over", report_.phase(), step.path,
                                      step.offset_bytes + at));
      }
    }
  }

  void Create() {
    if (has_failed()) return;
    report_.Begin("create");
    auto opened = Wal::Create(fs_, wal::kTestDirectory, kOptions, wal::kTestIdentity);
    Expect(opened.status(), "create");
    if (!opened.ok()) return;
    wal_ = std::move(opened->wal);
    promise_.is_created = true;
    ++promise_.number;
  }

  void Write(const std::vector<Append>& appends) {
    if (has_failed()) return;
    report_.Begin("append");
    auto next = std::make_shared<LogModel>(model());
    for (const Append& append : appends) next->Apply(append);
    promise_.versions.push_back(std::move(next));
    ++promise_.number;
    Expect(wal_->Write(appends), "write");
  }
  void Sync() {
    if (has_failed()) return;
    report_.Begin("append");
    Expect(wal_->Sync(), "sync");
    promise_.versions = {promise_.versions.back()};
    ++promise_.number;
  }
  // One batch with one entry of so many bytes.
  Append Entry(size_t bytes) const {
    Append append = wal::EntriesOf(last() + 1, last() + 1, term(), bytes);
    append.commit = Index(last());
    return append;
  }
  void Put(size_t bytes) {
    if (has_failed()) return;
    Write({Entry(bytes)});
    Sync();
  }
  void Mark(uint64_t index, bool is_synced) {
    if (has_failed()) return;
    const auto entry = model().entries.find(index);
    const uint64_t at_term =
        entry != model().entries.end() ? entry->second.term.value() : model().last_term();
    Write({wal::MarkerAt(index, at_term)});
    if (is_synced) Sync();
  }
  void Collect(uint64_t durable_applied, const wal::TailToKeep& tail = wal::kNoTail) {
    if (has_failed()) return;
    report_.Begin("collect");
    Expect(wal_->CollectCovered(Index(durable_applied), {.tail = tail}).status(), "collect");
    for (const std::string& effect : fs_.disk().Unsynced()) {
      if (effect.starts_with("remove ")) {
        report_.Violation(fmt::format("collect: {} is not durable at the end", effect));
      }
    }
  }
  void Spare() {
    if (has_failed()) return;
    report_.Begin("spare");
    Expect(wal_->MakeSpare(nullptr), "spare");
  }
  void Prove() {
    if (has_failed()) return;
    report_.Begin("proof");
    Expect(wal_->WriteDurableThrough(), "proof");
    Expect(wal_->Sync(), "proof");
    promise_.versions = {promise_.versions.back()};
    ++promise_.number;
  }

  // After a kill or a power cut.
  void Open() {
    if (has_failed()) return;
    report_.Begin("open");
    auto opened = Wal::Open(fs_, wal::kTestDirectory, kOptions, wal::kTestIdentity);
    Expect(opened.status(), "open");
    if (!opened.ok()) return;
    wal_ = std::move(opened->wal);
    for (const auto& version : promise_.versions) {
      if (!Difference(*version, opened->recovered, *wal_).empty()) continue;
      promise_.versions = {std::shared_ptr(version)};
      ++promise_.number;
      return;
    }
    report_.Violation("open: it has none of the versions");
  }
  void Kill() {
    wal_.reset();
    fs_.Restart();
    Open();
  }
  // The power fails when every unsynced effect but the first `lost` is on the disk.
  void CutPower(size_t lost) {
    wal_.reset();
    std::vector<bool> kept(fs_.disk().Unsynced().size(), true);
    for (size_t i = 0; i < std::min(lost, kept.size()); ++i) kept[i] = false;
    fs_.CrashKeeping(kept);
    Open();
  }

  // Entries of many sizes, alone and together, through several segments.
  void Grow() {
    Append first = Entry(20);
    first.hard_state = raft::HardState{.term = Term(1), .vote = MemberId(3)};
    first.configuration = "one member";
    Write({first});
    Sync();
    for (const size_t bytes : {1, 300, 447, 448, 449, 900, 20, 1500, 60, 700, 2100, 5, 300, 300}) {
      Put(bytes);
    }
    Spare();
    for (int i = 0; i < 5; ++i) {
      Write({Entry(200)});
      Write({Entry(400)});
      Sync();
    }
    // Zeros, which the mask is for.
    Append zeros = Entry(1);
    zeros.entries = {wal::MakeEntry(last() + 1, term(), std::string(1200, '\0'))};
    Write({zeros});
    Sync();
    Prove();
    // The spare maker's thread comes in between: at rotation, with the new header not synced.
    const base::ScopedFailPointObserver observer([this](std::string_view name) {
      if (name == "wal.rotate.begun" && !is_visiting_) {
        Expect(wal_->MakeSpare(nullptr), "spare at rotation");
      }
    });
    for (const size_t bytes : {1000, 800, 600, 400, 1400, 30}) Put(bytes);
  }

  // Segments go; first with a marker that is not synced, which must not count.
  void Trim() {
    Mark(6, true);
    Collect(6);
    for (const size_t bytes : {300, 20}) Put(bytes);
    Mark(26, false);
    Collect(26);
    Sync();
    Collect(20);
    // The state is less than the marker says.
    Collect(26, {.entries_max = 8, .bytes_max = 1 << 20});
    Collect(26);
    // An unsynced opening batch keeps all.
    Mark(last(), true);
    while (!has_failed() && model().last() < 40) Put(1200);
    Write({Entry(1800)});
    Write({Entry(1800)});
    Collect(model().marker);
    Sync();
    Collect(model().marker);
    // All but the entry that begins a segment is covered, and that segment is not synced.
    while (!has_failed() && !IsRotationNext()) Put(300);
    Mark(last(), true);
    Write({Entry(2000)});
    Collect(model().marker);
    Sync();
    Collect(model().marker);
  }

  void Supersede() {
    for (const size_t bytes : {300, 900, 300}) Put(bytes);
    const uint64_t from = last();
    Append append = wal::EntriesOf(from, from + 2, term() + 1, 250);
    append.hard_state =
        raft::HardState{.term = Term(term() + 1), .vote = MemberId(7), .commit = Index(from - 1)};
    Write({append, wal::EntriesOf(from + 2, from + 3, term() + 1, 10)});
    Sync();
    append = Entry(40);
    append.configuration = "three members";
    Write({append});
    // More than a segment holds, with a spare in the way.
    Spare();
    Write({Entry(6000)});
    Sync();
    Spare();
    for (const size_t bytes : {40, 1900, 1900, 40}) Put(bytes);
  }

  // With and without anything unsynced, and twice.
  void Restart() {
    Prove();
    Kill();
    Put(500);
    Write({Entry(500)});
    Write({Entry(30)});
    Kill();
    Kill();
    Write({Entry(700)});
    CutPower(0);
    Put(500);
    CutPower(0);
  }

  // Torn tails of every kind, more than are kept.
  void Tear() {
    for (int i = 0; i < 5; ++i) {
      Write({Entry(100)});
      Write({Entry(900)});
      Write({Entry(100)});
      CutPower(1);
      if (i % 2 == 0) Put(i == 0 ? 100 : 900);
    }
    // A segment without its opening batch, behind a whole one, with and without a spare behind it.
    for (const bool has_spare : {false, true}) {
      while (!has_failed() && !IsRotationNext()) Put(300);
      const base::ScopedFailPointObserver observer([&, this](std::string_view name) {
        if (name == "wal.rotate.begun" && has_spare && !is_visiting_) {
          Expect(wal_->MakeSpare(nullptr), "spare at rotation");
        }
      });
      Write({Entry(2000)});
      // The header is lost.
      CutPower(1);
    }
    for (int i = 0; i < 3; ++i) {
      Write({Entry(100)});
      Write({Entry(600)});
      CutPower(1);
    }
  }
  // Whether an entry of 2,000 bytes begins the next segment.
  bool IsRotationNext() const {
    const uint64_t used = wal_->bytes_since(Index(last()));
    return used > 4096 - 2560 - 512 && used <= 4096;
  }

  void Install() {
    Put(300);
    Append install;
    const uint64_t at = last() + 5;
    install.snapshot_installed = wal::SnapshotInstalled{
        .id = {.term = Term(term() + 1), .index = Index(at)}, .configuration = "from the leader"};
    install.hard_state =
        raft::HardState{.term = Term(term() + 1), .vote = MemberId(0), .commit = Index(at)};
    install.commit = Index(at);
    Write({install});
    Sync();
    for (const size_t bytes : {300, 1500, 900, 1500}) Put(bytes);
    Mark(at, true);
    Collect(at);
    for (const size_t bytes : {300, 1500, 900, 1500}) Put(bytes);
    Mark(last() - 2, true);
    Collect(model().marker);
    Prove();
    CutPower(0);
  }

  Report& report_;
  LogStarter starter_;
  FaultFs fs_;
  std::unique_ptr<Wal> wal_;
  Promise promise_;
  bool is_visiting_ = false;
};

constexpr std::string_view kSteps[] = {
    "append: create *.wal.new",
    "append: remove *.wal",
    "append: rename *.wal.new to *.wal",
    "append: sync *.wal",
    "append: sync *.wal.new",
    "append: sync directory /data/wal",
    "append: write *.wal",
    "append: write header of *.wal",
    "append: write zeros to *.wal.new",
    "collect: remove *.wal",
    "collect: sync directory /data/wal",
    "create: create *.wal.new",
    "create: rename *.wal.new to *.wal",
    "create: sync *.wal",
    "create: sync *.wal.new",
    "create: sync directory /data",
    "create: sync directory /data/wal",
    "create: write header of *.wal",
    "create: write zeros to *.wal.new",
    "open: create *.wal.broken",
    "open: remove *.wal",
    "open: remove *.wal.broken",
    "open: sync *.wal",
    "open: sync *.wal.broken",
    "open: sync directory /data/wal",
    "open: write *.wal",
    "open: write *.wal.broken",
    "open: write header of *.wal",
    "open: write zeros to *.wal",
    "proof: sync *.wal",
    "proof: write *.wal",
    "spare: create *.wal.new",
    "spare: rename *.wal.new to *.wal",
    "spare: sync *.wal.new",
    "spare: sync directory /data/wal",
    "spare: write zeros to *.wal.new",
};

}  // namespace

void EnumerateLog(const Bounds& bounds, Report& report) { LogLife(bounds, report).Play(); }

std::span<const std::string_view> LogSteps() { return kSteps; }

}  // namespace cairn::crash_points
