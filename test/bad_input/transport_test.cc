// Refusals that an ordinary client cannot provoke: bytes on a plain connection, floods, and calls
// to a server that is stopping. Cairn only: an etcd encodes its answers otherwise or cannot be
// brought there.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using testing::HasSubstr;

// HTTP/2 by hand (RFC 9113 and 7541): frames out, bytes in. gRPC's servers in C++ send header
// fields as they are, so what they say can be searched for.
class PlainConnection {
 public:
  explicit PlainConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const timeval patience = {.tv_sec = kServerDeadline.count(), .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(/*type=*/4, /*flags=*/0, /*stream=*/0, ""));
  }
  ~PlainConnection() { close(fd_); }
  PlainConnection(const PlainConnection&) = delete;
  PlainConnection& operator=(const PlainConnection&) = delete;

  // Begins a call with one more header field.
  void Begin(const std::string& path, const std::string& name, const std::string& value) {
    std::string fields = "\x83\x86";  // :method POST, :scheme http
    fields += "\x04" + Text(path);
    fields += "\x01" + Text("localhost");
    fields += "\x0f\x10" + Text("application/grpc");
    fields += std::string(1, '\0') + Text("te") + Text("trailers");
    fields += std::string(1, '\0') + Text(name) + Text(value);
    Send(Frame(/*type=*/1, kEndHeaders, /*stream=*/1, fields));
  }
  // Sends so many copies of a message and ends the client's side.
  void Finish(const std::string& message, int copies) {
    std::string framed(5, '\0');
    framed[4] = static_cast<char>(message.size());
    framed += message;
    std::string data;
    for (int i = 0; i < copies; ++i) data += framed;
    Send(Frame(/*type=*/0, kEndStream, /*stream=*/1, data));
  }
  // Whether the server says this; false when it closes the connection or is silent for too long.
  bool Hears(std::string_view text) {
    char piece[4096];
    while (received_.find(text) == std::string::npos) {
      const ssize_t bytes = recv(fd_, piece, sizeof(piece), 0);
      if (bytes <= 0) return false;
      received_.append(piece, static_cast<size_t>(bytes));
    }
    return true;
  }

 private:
  static constexpr char kEndStream = 1;
  static constexpr char kEndHeaders = 4;

  static std::string Text(const std::string& text) {
    EXPECT_LT(text.size(), 127u);
    return std::string(1, static_cast<char>(text.size())) + text;
  }
  static std::string Frame(char type, char flags, char stream, const std::string& payload) {
    EXPECT_LT(payload.size(), 16'384u);
    std::string frame(9, '\0');
    frame[1] = static_cast<char>(payload.size() >> 8);
    frame[2] = static_cast<char>(payload.size());
    frame[3] = type;
    frame[4] = flags;
    frame[8] = stream;
    return frame + payload;
  }
  void Send(const std::string& bytes) {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  const int fd_;
  std::string received_;
};

class TransportTest : public testing::Test {
 protected:
  void SetUp() override {
    server_ = std::make_unique<Server>(OptionsFor(ServerUnderTest(), "transport"));
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  // Every value is 1 MB that no compression makes smaller.
  void Fill(int count) {
    Client client(server_->address());
    Random random(1);
    for (int i = 0; i < count; ++i) {
      etcdserverpb::PutRequest request;
      request.set_key(fmt::format("k{}", i));
      request.set_value(random.Bytes(1'000'000));
      etcdserverpb::PutResponse response;
      const grpc::Status status = client.Put(request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
  }

  grpc::Status Put() {
    Client client(server_->address());
    etcdserverpb::PutRequest request;
    request.set_key("alive");
    etcdserverpb::PutResponse response;
    return client.Put(request, &response);
  }

  std::unique_ptr<Server> server_;
};

std::string RangeOf(const std::string& key) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  return request.SerializeAsString();
}

TEST_F(TransportTest, InvalidClientApiVersion) {
  for (const char* path : {"/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put",
                           "/etcdserverpb.KV/RangeStream", "/etcdserverpb.Maintenance/Status"}) {
    SCOPED_TRACE(path);
    PlainConnection connection(server_->client_port());
    connection.Begin(path, "client-api-version", "3.7\xff");
    connection.Finish(RangeOf("k"), 1);
    EXPECT_TRUE(connection.Hears("etcdserver: invalid client api version"));
  }
  PlainConnection valid(server_->client_port());
  valid.Begin("/etcdserverpb.Maintenance/Status", "client-api-version", "3.7 \xc3\xa9");
  valid.Finish("", 1);
  EXPECT_TRUE(valid.Hears("3.7."));
  EXPECT_TRUE(Put().ok());
}

TEST_F(TransportTest, RangeStreamTakesOneRequest) {
  struct Case {
    int copies;
    const char* text;
  } const cases[] = {
      {0, "cardinality violation: received no request message from non-client-streaming RPC"},
      {2, "cardinality violation: received multiple request messages for non-client-streaming RPC"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.copies);
    PlainConnection connection(server_->client_port());
    connection.Begin("/etcdserverpb.KV/RangeStream", "x", "y");
    connection.Finish(RangeOf("k"), c.copies);
    EXPECT_TRUE(connection.Hears(c.text));
  }
  EXPECT_TRUE(Put().ok());
}

// One call more than can be queued.
TEST_F(TransportTest, TooManyRequests) {
  // So that the reads of the flood, which each hash everything, outlast the sending of it.
  Fill(40);
  constexpr int kConnections = 2;
  constexpr int kCalls = 5'000;
  grpc::CompletionQueue queue;
  struct Pending {
    grpc::ClientContext context;
    grpc::ByteBuffer response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
  };
  std::vector<Client> clients;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (int i = 0; i < kConnections; ++i) {
    clients.emplace_back(server_->address());
    stubs.push_back(std::make_unique<grpc::GenericStub>(clients.back().channel()));
    etcdserverpb::StatusResponse connected;
    ASSERT_TRUE(clients.back().StatusOf(&connected).ok());
  }
  std::vector<Pending> pending(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    Pending& call = pending[i];
    const grpc::Slice nothing;
    call.context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
    call.reader = stubs[i % kConnections]->PrepareUnaryCall(
        &call.context, "/etcdserverpb.Maintenance/Hash", grpc::ByteBuffer(&nothing, 1), &queue);
    call.reader->StartCall();
    call.reader->Finish(&call.response, &call.status, &call);
  }
  int answered = 0;
  const auto next = [&] {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    ++answered;
    return static_cast<Pending*>(tag)->status;
  };
  grpc::Status status;
  while (answered < kCalls && status.ok()) status = next();
  EXPECT_EQ(status.error_code(), grpc::UNKNOWN) << status.error_message();
  EXPECT_EQ(status.error_message(), "etcdserver: too many requests");
  for (Pending& call : pending) call.context.TryCancel();
  while (answered < kCalls) next();
  queue.Shutdown();
  EXPECT_TRUE(Put().ok());
}

// A call that comes while the server lets others finish.
TEST_F(TransportTest, ServerStopped) {
  constexpr int kRows = 40;
  Fill(kRows);
  // The grace is 2 s; on a machine that stood still for so long the next round has another chance.
  std::string text;
  for (int round = 0; round < 5 && text != "etcdserver: server stopped"; ++round) {
    if (round > 0) {
      ASSERT_TRUE(server_->Start().ok());
    }
    Client holding(server_->address());
    const auto stub = etcdserverpb::KV::NewStub(holding.channel());
    grpc::ClientContext context;
    etcdserverpb::RangeRequest request;
    request.set_key("k");
    request.set_range_end("l");
    const auto unread = stub->RangeStream(&context, request);
    etcdserverpb::RangeStreamResponse first;
    ASSERT_TRUE(unread->Read(&first));
    Client client(server_->address());
    kill(server_->pid(), SIGTERM);
    grpc::Status status;
    while (status.ok()) {
      etcdserverpb::PutRequest put;
      put.set_key("late");
      etcdserverpb::PutResponse response;
      status = client.Put(put, &response);
    }
    EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
    text = status.error_message();
    const absl::StatusOr<ExitState> exit = server_->WaitForExit();
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_EQ(*exit, ExitState{}) << server_->Log();
  }
  EXPECT_EQ(text, "etcdserver: server stopped");
}

// What a put may keep is gone by its turn: there is nothing to keep. (An etcd 3.7.3 ends here, and
// again at each start.)
TEST_F(TransportTest, APutThatKeepsWhatItsTransactionDeleted) {
  etcdserverpb::TxnRequest request;
  auto& remove = *request.add_success()->mutable_request_delete_range();
  remove.set_key("alive");
  remove.set_range_end(std::string(1, '\0'));
  auto& put = *request.add_success()->mutable_request_put();
  put.set_key("alive");
  put.set_ignore_value(true);
  put.set_ignore_lease(true);
  etcdserverpb::TxnResponse response;
  ASSERT_TRUE(Put().ok());
  {
    Client client(server_->address());
    ASSERT_TRUE(client.Txn(request, &response).ok());
  }
  server_->Kill();
  ASSERT_TRUE(server_->Start().ok());
  Client client(server_->address());
  etcdserverpb::RangeRequest range;
  range.set_key("alive");
  etcdserverpb::RangeResponse found;
  ASSERT_TRUE(client.Range(range, &found).ok());
  ASSERT_EQ(found.kvs_size(), 1);
  EXPECT_EQ(found.kvs(0).version(), 1);
  EXPECT_EQ(found.kvs(0).create_revision(), 3);
}

template <typename Request>
void SetAllKeys(Request& request) {
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
}

// An etcd sends it.
TEST_F(TransportTest, AnswerOfAWriteLargerThanAnAnswerMayBe) {
  Fill(70);
  constexpr std::string_view kText =
      "cairn: the request was applied, but its response is larger than 64 MiB";
  {
    Client client(server_->address());
    etcdserverpb::TxnRequest request;
    request.add_success()->mutable_request_put()->set_key("x");
    SetAllKeys(*request.add_success()->mutable_request_range());
    etcdserverpb::TxnResponse response;
    grpc::Status status = client.Txn(request, &response);
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(), kText);
    etcdserverpb::DeleteRangeRequest remove;
    remove.set_key("k");
    remove.set_range_end("l");
    remove.set_prev_kv(true);
    etcdserverpb::DeleteRangeResponse removed;
    status = client.DeleteRange(remove, &removed);
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(), kText);
    EXPECT_TRUE(Put().ok());
  }
  // Both happened, and happen again when they are applied after a crash.
  server_->Kill();
  ASSERT_TRUE(server_->Start().ok());
  Client client(server_->address());
  etcdserverpb::RangeRequest range;
  SetAllKeys(range);
  etcdserverpb::RangeResponse found;
  ASSERT_TRUE(client.Range(range, &found).ok());
  ASSERT_EQ(found.kvs_size(), 2);
  EXPECT_EQ(found.kvs(0).key(), "alive");
  EXPECT_EQ(found.kvs(1).key(), "x");
}

// Streams that never read hold as much as all answers may; whoever reads then is served all the
// same, within seconds.
TEST_F(TransportTest, StoppedReadersDoNotHoldUpOthers) {
  Fill(4);
  constexpr int kConnections = 3;
  constexpr int kStreams = 300;
  struct Stopped {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<etcdserverpb::RangeStreamResponse>> reader;
  };
  etcdserverpb::RangeRequest request;
  SetAllKeys(request);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // On a fast machine it would have the library take in megabytes for each stream, unread.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  std::vector<std::unique_ptr<etcdserverpb::KV::Stub>> stubs;
  for (int i = 0; i < kConnections; ++i) {
    stubs.push_back(etcdserverpb::KV::NewStub(grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments)));
  }
  std::vector<Stopped> stopped(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    stopped[i].reader = stubs[i % kConnections]->RangeStream(&stopped[i].context, request);
  }
  Client client(server_->address());
  const auto limit = std::chrono::steady_clock::now() + kServerDeadline;
  bool was_refused = false;
  grpc::Status status;
  const auto read = [&] {
    etcdserverpb::RangeResponse found;
    status = client.Range(request, &found);
    was_refused = was_refused || status.error_code() == grpc::UNAVAILABLE;
    return status.ok() && found.kvs_size() == 4;
  };
  // First until they stand in the way, then until they do so no more.
  while (!was_refused && std::chrono::steady_clock::now() < limit) read();
  EXPECT_TRUE(was_refused);
  while (!read() && std::chrono::steady_clock::now() < limit) {
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
  for (Stopped& stream : stopped) stream.context.TryCancel();
  stopped.clear();
  EXPECT_TRUE(Put().ok());
}

TEST_F(TransportTest, WhatIsNotBuiltNamesItself) {
  Client client(server_->address());
  struct Case {
    const char* path;
    const char* text;
  } const cases[] = {
      {"/etcdserverpb.Auth/AuthEnable",
       "method AuthEnable of service etcdserverpb.Auth not implemented"},
      {"/v3lockpb.Lock/Lock", "method Lock of service v3lockpb.Lock not implemented"},
      {"/v3electionpb.Election/Observe",
       "method Observe of service v3electionpb.Election not implemented"},
  };
  for (const Case& c : cases) {
    std::string response;
    const grpc::Status status = client.Raw(c.path, "", &response);
    EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED) << c.path;
    EXPECT_EQ(status.error_message(), c.text);
  }
}

}  // namespace
}  // namespace cairn::test
