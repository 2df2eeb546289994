#include "server/range_stream.h"

#include <absl/status/status.h>

#include <utility>

#include "api/errors.h"
#include "server/kv_source.h"

namespace cairn::server {

RangeStreamSender::RangeStreamSender(const ServiceContext& context,
                                     std::shared_ptr<rpc::StreamCall> call,
                                     etcdserverpb::RangeRequest request)
    : context_(context),
      call_(std::move(call)),
      reader_(std::move(request), kRangeStreamMessageBytes) {
  call_->LimitSendTime();
}

void RangeStreamSender::Schedule(std::shared_ptr<RangeStreamSender> self) {
  if (!self->context_.node.RunInReadPool([self] { Send(self); })) {
    self->call_->Finish(api::ToStatus(api::Error::kTooManyRequests));
  }
}

void RangeStreamSender::Send(std::shared_ptr<RangeStreamSender> self) {
  rpc::StreamCall& call = *self->call_;
  const auto is_abandoned = [&] { return IsAbandoned(self->context_, call); };
  const StoreSource source(self->context_.store, is_abandoned);
  while (true) {
    if (is_abandoned()) {
      call.Finish(ReadError(call, absl::CancelledError()));
      return;
    }
    ResponseBuffer out(self->context_.budget, kResponseBudgetWait);
    const absl::StatusOr<RangeStreamReader::Message> message = self->reader_.Next(source, out);
    if (!message.ok()) {
      call.Finish(ReadError(call, message.status()));
      return;
    }
    if (message->is_last) {
      call.Write(
          WrapStreamMessage(out.FinishWithHeader(self->context_.Header(message->header_revision))));
      call.Finish(absl::OkStatus());
      return;
    }
    if (!call.Write(WrapStreamMessage(out.Finish()))) {
      call.OnWritable([self] { Schedule(self); });
      return;
    }
  }
}

}  // namespace cairn::server
