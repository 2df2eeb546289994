// On the real file system: owners, modes and locks are what it says they are.
#include "server/data_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>

#include "base/status.h"
#include "wal/posix_fs.h"

namespace cairn::server {
namespace {

namespace fs = std::filesystem;

class DataDirTest : public testing::Test {
 protected:
  void SetUp() override {
    // Under /tmp, so that another user could reach it.
    std::string name = "/tmp/cairn_data_dir_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    base_ = name;
    root_ = base_ + "/data";
    config_.data_dir = root_;
    config_.name = "n1";
    config_.initial_advertise_peer_urls = {{"http", "localhost", 2380}};
    config_.initial_cluster = {{"n1", {"http://localhost:2380"}}};
  }
  void TearDown() override {
    chmod(base_.c_str(), 0700);
    fs::remove_all(base_);
  }

  absl::StatusOr<DataDir> Open() { return DataDir::Open(wal::PosixFs(), config_); }
  std::string Refusal() {
    const absl::Status status = Open().status();
    return fmt::format("{}: {}", absl::StatusCodeToString(status.code()), base::Message(status));
  }
  static mode_t Mode(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
  }
  static void WriteFile(const std::string& path, std::string_view text) {
    std::ofstream(path) << text;
  }
  // Refusing must leave everything as it was.
  size_t Entries() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::recursive_directory_iterator(base_)) ++count;
    return count;
  }

  std::string base_;
  std::string root_;
  Config config_;
};

TEST_F(DataDirTest, NothingIsMadeForAMemberThatIsNotOfTheInitialCluster) {
  config_.initial_cluster = {{"n2", {"http://localhost:2380"}}};
  EXPECT_NE(Refusal().find("couldn't find local name \"n1\""), std::string::npos);
  EXPECT_EQ(Entries(), 0u);
  config_.initial_cluster[0].name = "n1";
  ASSERT_TRUE(Open().ok());
  // Afterwards the flag does not count.
  config_.initial_cluster[0].name = "n2";
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirTest, AFirstStartMakesPrivateDirectories) {
  config_.data_dir = root_ = base_ + "/deeper/data";
  const auto directory = Open();
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ(directory->wal_path(), root_ + "/wal");
  EXPECT_EQ(directory->state_path(), root_ + "/state/1");
  for (const std::string path : {"", "/wal", "/state", "/state/1"}) {
    EXPECT_EQ(Mode(root_ + path), 0700U) << path;
  }
  std::ifstream current(root_ + "/state/CURRENT");
  std::string line;
  std::getline(current, line);
  EXPECT_EQ(line, "1");
}

TEST_F(DataDirTest, AReadableDirectoryIsTakenAndMadePrivate) {
  fs::create_directory(root_);
  chmod(root_.c_str(), 0755);
  fs::create_directory(root_ + "/lost+found");
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Mode(root_), 0700U);
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirTest, TheLogMayLieElsewhere) {
  config_.wal_dir = base_ + "/log";
  const auto directory = Open();
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ(directory->wal_path(), base_ + "/log");
  EXPECT_EQ(Mode(base_ + "/log"), 0700U);
  EXPECT_FALSE(fs::exists(root_ + "/wal"));
}

TEST_F(DataDirTest, ASecondUserOfTheDirectoryIsRefused) {
  const std::string refusal = fmt::format(
      "UNAVAILABLE: --data-dir: {0} is in use: another process holds {0}/lock; stop it, or name "
      "another directory",
      root_);
  {
    const auto directory = Open();
    ASSERT_TRUE(directory.ok()) << directory.status();
    EXPECT_EQ(Refusal(), refusal);
    const pid_t child = fork();
    if (child == 0) _exit(Refusal() == refusal ? 0 : 1);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirTest, ADirectoryThatOthersCanWriteToIsRefused) {
  fs::create_directory(root_);
  chmod(root_.c_str(), 0770);
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {} can be written by others (mode 770); "
                        "chmod 700 it",
                        root_));
  EXPECT_EQ(Entries(), 1U);
  chmod(root_.c_str(), 0700);
  config_.wal_dir = base_ + "/log";
  fs::create_directory(config_.wal_dir);
  chmod(config_.wal_dir.c_str(), 0702);
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --wal-dir: {} can be written by others (mode 702); "
                        "chmod 700 it",
                        config_.wal_dir));
}

TEST_F(DataDirTest, AnotherUsersDirectoryIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  fs::create_directory(root_);
  if (chown(root_.c_str(), 65534, 65534) != 0) GTEST_SKIP() << "a namespace of one user";
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {} belongs to user 65534, this process "
                        "runs as 0; chown it, or start as its owner",
                        root_));
}

TEST_F(DataDirTest, AFileIsRefused) {
  WriteFile(root_, "text");
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {} is not a directory; name another path",
                        root_));
  config_.data_dir = root_ + "/below";
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {}: Not a directory; name another path",
                        config_.data_dir));
}

TEST_F(DataDirTest, AParentThatCannotBeWrittenIsRefused) {
  const bool is_root = geteuid() == 0;
  if (is_root) {
    // Root writes anywhere: be nobody for a moment.
    chmod(base_.c_str(), 0755);
    if (seteuid(65534) != 0) GTEST_SKIP() << "a namespace of one user";
  } else {
    chmod(base_.c_str(), 0500);
  }
  const std::string refusal = Refusal();
  ASSERT_TRUE(!is_root || seteuid(0) == 0);
  EXPECT_EQ(
      refusal,
      fmt::format("PERMISSION_DENIED: --data-dir: {}: cannot create the directory: Permission "
                  "denied; make it for this user, or name another path",
                  root_));
}

TEST_F(DataDirTest, EtcdsDataIsRefusedByName) {
  fs::create_directories(root_ + "/member/wal");
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {0} holds the data of an etcd member "
                        "({0}/member); Cairn keeps its data in a directory of its own",
                        root_));
  EXPECT_EQ(Entries(), 3U);
}

TEST_F(DataDirTest, AnotherProgramsFilesAreRefused) {
  fs::create_directory(root_);
  WriteFile(root_ + "/thesis.tex", "text");
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {} is not a data directory of Cairn: it "
                        "holds \"thesis.tex\"; name an empty or a new directory",
                        root_));
  EXPECT_EQ(Entries(), 2U);
}

TEST_F(DataDirTest, ACurrentThatNamesNoStateIsRefused) {
  ASSERT_TRUE(Open().ok());
  const std::string current = root_ + "/state/CURRENT";
  for (const std::string_view text : {"", "\n", "1", "one\n", "1\n2\n", "../1\n", "-1\n"}) {
    SCOPED_TRACE(text);
    WriteFile(current, text);
    EXPECT_EQ(
        Refusal(),
        fmt::format("DATA_LOSS: --data-dir: {} does not name a state; write the number of the "
                    "directory beside it for which `cairnutl raft-state` shows what it has applied "
                    "and exits with 0 into the file, followed by a line end",
                    current));
  }
  WriteFile(current, std::string(1000, '1') + "\n");
  EXPECT_TRUE(Refusal().starts_with("DATA_LOSS"));
  WriteFile(current, "12\n");
  const auto directory = Open();
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ(directory->state_path(), root_ + "/state/12");
}

// A first start that ended between making the directory and naming the state.
TEST_F(DataDirTest, AnUnfinishedFirstStartIsCompleted) {
  fs::create_directories(root_ + "/state");
  WriteFile(root_ + "/state/CURRENT.new", "torn");
  const auto directory = Open();
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ(directory->state_path(), root_ + "/state/1");
  EXPECT_FALSE(fs::exists(root_ + "/state/CURRENT.new"));
}

// What an installation leaves that was cut short before or after the switch, and copies that were
// made for other members.
TEST_F(DataDirTest, LeftoversBesideTheStateInForceAreRemoved) {
  ASSERT_TRUE(Open().ok());
  for (const std::string name : {"1", "2", "3", "checkpoint.7", "checkpoint.8.tmp"}) {
    fs::create_directories(root_ + "/state/" + name);
    WriteFile(root_ + "/state/" + name + "/MANIFEST-000005", "rows");
  }
  fs::create_directories(root_ + "/state/4");
  WriteFile(root_ + "/state/4/000012.sst", "the beginning of a snapshot");
  WriteFile(root_ + "/state/CURRENT.new", "3\n");
  WriteFile(root_ + "/state/CURRENT", "2\n");
  WriteFile(root_ + "/state/notes", "not ours to remove");
  auto directory = Open();
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_TRUE(directory->has_state());
  EXPECT_EQ(directory->current_state(), 2U);
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(root_ + "/state")) {
      found.insert(entry.path().filename());
    }
    return found;
  };
  EXPECT_EQ(names(), (std::set<std::string>{"1", "2", "3", "CURRENT", "notes"}))
      << "which state is the log's is not known yet";
  EXPECT_EQ(directory->other_states(),
            (std::vector<std::string>{root_ + "/state/1", root_ + "/state/3"}));
  ASSERT_TRUE(directory->RemoveOtherStates(wal::PosixFs()).ok());
  EXPECT_EQ(names(), (std::set<std::string>{"2", "CURRENT", "notes"}));
}

TEST_F(DataDirTest, AStateThatIsMissingBesideAnotherIsRefusedAndNothingRemoved) {
  ASSERT_TRUE(Open().ok());
  WriteFile(root_ + "/state/1/CURRENT", "rows");
  WriteFile(root_ + "/state/CURRENT", "2\n");
  const std::string states = root_ + "/state";
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --data-dir: {0}/2 is missing, but there is a state "
                        "in {0}/1; restore what is missing, or write into {0}/CURRENT the number, "
                        "and a line end, of the one for which `cairnutl raft-state {0}/NUMBER "
                        "--wal-dir=...` shows what it has applied and exits with 0",
                        states));
  fs::remove(states + "/CURRENT");
  EXPECT_TRUE(
      Refusal().starts_with("FAILED_PRECONDITION: --data-dir: " + states + "/CURRENT is missing"));
  EXPECT_TRUE(fs::exists(states + "/1/CURRENT"));
  for (const std::string name : {"9", "10"}) {
    fs::create_directories(states + "/" + name);
    WriteFile(states + "/" + name + "/CURRENT", "rows");
  }
  const std::string refusal = Refusal();
  EXPECT_NE(
      refusal.find(fmt::format("there is a state in {0}/1 and in {0}/9 and in {0}/10; ", states)),
      std::string::npos)
      << refusal;
  EXPECT_TRUE(fs::exists(states + "/9/CURRENT"));
  WriteFile(states + "/CURRENT", "1\n");
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirTest, ALogThatTheFlagLeavesUnreadIsRefused) {
  ASSERT_TRUE(Open().ok());
  const std::string elsewhere = root_ + "-log";
  config_.wal_dir = elsewhere;
  EXPECT_TRUE(Open().ok()) << "there is no log inside yet";
  WriteFile(root_ + "/wal/0000000000000003.wal", "a segment");
  EXPECT_EQ(Refusal(),
            fmt::format("FAILED_PRECONDITION: --wal-dir: {} is not the only log: {}/wal holds "
                        "0000000000000003.wal; start without the flag, or remove the log that is "
                        "not this member's",
                        elsewhere, root_));
  config_.wal_dir = root_ + "/wal";
  EXPECT_TRUE(Open().ok()) << "the same directory";
  fs::remove_all(elsewhere);
}

}  // namespace
}  // namespace cairn::server
