// The call of a client so fast that its queue is never full. It tells of each message before that
// goes on to another call, so before anyone can see it there.
//
// Test only. The service under test owns it. `on_write` runs on the thread that writes; it never
// refuses or delays a message.
#ifndef CAIRN_SERVER_RPC_EAGER_CALL_H_
#define CAIRN_SERVER_RPC_EAGER_CALL_H_

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "server/rpc/call.h"
#include "server/rpc/slice.h"

namespace cairn::rpc {

class EagerCall final : public StreamCall {
 public:
  EagerCall(std::shared_ptr<StreamCall> call, std::function<void()> on_write)
      : call_(std::move(call)), on_write_(std::move(on_write)) {}

  std::string_view path() const override { return call_->path(); }
  std::optional<std::chrono::steady_clock::time_point> deadline() const override {
    return call_->deadline();
  }
  std::optional<std::string_view> Find(std::string_view key) const override {
    return call_->Find(key);
  }
  std::string_view peer() const override { return call_->peer(); }
  bool cancelled() const override { return call_->cancelled(); }
  void OnCancel(std::function<void()> callback) override { call_->OnCancel(std::move(callback)); }
  void Read(ReadCallback callback) override { call_->Read(std::move(callback)); }
  bool Write(SliceList message) override {
    on_write_();
    call_->Write(std::move(message));
    return true;
  }
  void SetHighWaterBytes(int64_t /*bytes*/) override {}
  void OnWritable(std::function<void()> callback) override { callback(); }
  void LimitSendTime() override {}
  int64_t queued_bytes() const override { return 0; }
  void Abort(absl::Status status) override { call_->Abort(std::move(status)); }
  void AbortNow(absl::Status status) override { call_->AbortNow(std::move(status)); }
  void Finish(absl::Status status) override { call_->Finish(std::move(status)); }

 private:
  const std::shared_ptr<StreamCall> call_;
  const std::function<void()> on_write_;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_EAGER_CALL_H_
