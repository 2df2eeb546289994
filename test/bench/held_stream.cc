#include "test/bench/held_stream.h"

#include <utility>

#include "base/check.h"
#include "test/bench/byte_buffer.h"

namespace cairn::bench {

void HeldStream::Open(grpc::GenericStub& stub, const char* method) {
  call_ = stub.PrepareCall(&context_, method, &loop_.queue());
  call_->StartCall(&opened_);
}

void HeldStream::Write(const std::string& bytes) {
  if (is_writing_) {
    CAIRN_CHECK(!waiting_.has_value(), "two messages wait for a write");
    waiting_ = bytes;
    return;
  }
  is_writing_ = true;
  call_->Write(BufferOf(bytes), &written_);
}

void HeldStream::ResumeReading() {
  may_read_ = true;
  if (!is_reading_ && !is_ended_) Read();
}

void HeldStream::Cancel() {
  is_cancelled_ = true;
  if (call_ != nullptr) context_.TryCancel();
}

void HeldStream::Opened(bool ok) {
  if (!ok) return Finish();
  Read();
  if (handlers_.written) handlers_.written();
}

void HeldStream::Written(bool ok) {
  is_writing_ = false;
  // A failed write is the end of the stream, which the read will tell.
  if (!ok || is_ended_) return;
  if (waiting_.has_value()) {
    Write(*std::exchange(waiting_, std::nullopt));
  } else if (handlers_.written) {
    handlers_.written();
  }
}

void HeldStream::Read() {
  is_reading_ = true;
  call_->Read(&message_, &read_);
}

void HeldStream::HasRead(bool ok) {
  is_reading_ = false;
  if (!ok) return Finish();
  grpc::Slice slice;
  // One slice is the rule; where the transport cut the message it is put together.
  if (message_.TrySingleSlice(&slice).ok() || message_.DumpToSingleSlice(&slice).ok()) {
    handlers_.message(std::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size()));
  }
  message_.Clear();
  if (may_read_) Read();
}

void HeldStream::Finish() {
  if (is_ended_) return;
  is_ended_ = true;
  call_->Finish(&status_, &finished_);
}

void HeldStream::Finished(bool /*ok*/) {
  if (!is_cancelled_ && handlers_.ended) handlers_.ended(status_);
}

}  // namespace cairn::bench
