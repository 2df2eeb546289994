#include "test/differential/normalise.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace cairn::test {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::RequestOp;
using etcdserverpb::ResponseHeader;
using etcdserverpb::ResponseOp;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;
using mvccpb::KeyValue;

void NormaliseHeader(ResponseHeader& header) {
  if (header.cluster_id() != 0) header.set_cluster_id(1);
  if (header.member_id() != 0) header.set_member_id(1);
  if (header.raft_term() != 0) header.set_raft_term(1);
}

bool EqualInOrder(RangeRequest::SortTarget target, const KeyValue& a, const KeyValue& b) {
  switch (target) {
    case RangeRequest::VERSION:
      return a.version() == b.version();
    case RangeRequest::CREATE:
      return a.create_revision() == b.create_revision();
    case RangeRequest::MOD:
      return a.mod_revision() == b.mod_revision();
    case RangeRequest::VALUE:
      // With keys_only all values are empty: one run of equals, which is all that can be said.
      return a.value() == b.value();
    default:
      return a.key() == b.key();
  }
}

// What is left of a key-value of which another one might as well have been returned.
KeyValue OnlyItsOrder(RangeRequest::SortTarget target, const KeyValue& row) {
  KeyValue rest;
  if (target == RangeRequest::VERSION) rest.set_version(row.version());
  if (target == RangeRequest::CREATE) rest.set_create_revision(row.create_revision());
  if (target == RangeRequest::MOD) rest.set_mod_revision(row.mod_revision());
  if (target == RangeRequest::VALUE) rest.set_value(row.value());
  return rest;
}

void NormaliseOrder(const RangeRequest& request, RangeResponse& response) {
  if (request.sort_target() == RangeRequest::KEY) return;
  std::vector<KeyValue> rows(response.kvs().begin(), response.kvs().end());
  auto first = rows.begin();
  while (first != rows.end()) {
    const auto limit = std::find_if(first, rows.end(), [&](const KeyValue& row) {
      return !EqualInOrder(request.sort_target(), *first, row);
    });
    if (limit == rows.end() && response.more()) {
      for (auto row = first; row != limit; ++row) {
        *row = OnlyItsOrder(request.sort_target(), *row);
      }
    } else {
      std::sort(first, limit,
                [](const KeyValue& a, const KeyValue& b) { return a.key() < b.key(); });
    }
    first = limit;
  }
  response.mutable_kvs()->Assign(rows.begin(), rows.end());
}

void NormaliseRange(const RangeRequest& request, const ReferenceRules& rules,
                    RangeResponse& response) {
  if (!rules.keys_only_drops_lease && request.keys_only()) {
    for (KeyValue& row : *response.mutable_kvs()) row.clear_lease();
  }
  NormaliseOrder(request, response);
}

void NormaliseTxn(const TxnRequest& request, const ReferenceRules& rules, TxnResponse& response) {
  const auto& ops = response.succeeded() ? request.success() : request.failure();
  // A count that does not fit is a difference that the comparison shows.
  for (int i = 0; i < std::min(ops.size(), response.responses_size()); ++i) {
    ResponseOp& answer = *response.mutable_responses(i);
    if (ops[i].has_request_range() && answer.has_response_range()) {
      NormaliseRange(ops[i].request_range(), rules, *answer.mutable_response_range());
    }
    if (ops[i].has_request_txn() && answer.has_response_txn()) {
      NormaliseTxn(ops[i].request_txn(), rules, *answer.mutable_response_txn());
    }
  }
}

// How much is left depends on when each server was asked; the keys stand in any order.
void NormaliseTimeToLive(etcdserverpb::LeaseTimeToLiveResponse& response) {
  if (response.ttl() > 0) response.set_ttl(1);
  std::sort(response.mutable_keys()->begin(), response.mutable_keys()->end());
}

// By the time that is left, which is the same for most.
void NormaliseLeases(etcdserverpb::LeaseLeasesResponse& response) {
  std::sort(response.mutable_leases()->begin(), response.mutable_leases()->end(),
            [](const auto& a, const auto& b) { return a.id() < b.id(); });
}

}  // namespace

void Normalise(const Operation& operation, const ReferenceRules& rules, Outcome& outcome) {
  if (outcome.code != 0) return;
  std::visit(
      [](auto& response) {
        if (response.has_header()) NormaliseHeader(*response.mutable_header());
      },
      outcome.response);
  if (const auto* range = std::get_if<RangeRequest>(&operation)) {
    NormaliseRange(*range, rules, std::get<RangeResponse>(outcome.response));
  } else if (const auto* stream = std::get_if<RangeStream>(&operation)) {
    NormaliseRange(stream->request, rules, std::get<RangeResponse>(outcome.response));
  } else if (const auto* txn = std::get_if<TxnRequest>(&operation)) {
    NormaliseTxn(*txn, rules, std::get<TxnResponse>(outcome.response));
  }
  if (auto* left = std::get_if<etcdserverpb::LeaseTimeToLiveResponse>(&outcome.response)) {
    NormaliseTimeToLive(*left);
  }
  if (auto* leases = std::get_if<etcdserverpb::LeaseLeasesResponse>(&outcome.response)) {
    NormaliseLeases(*leases);
  }
  if (auto* hash = std::get_if<etcdserverpb::HashKVResponse>(&outcome.response)) {
    if (!rules.has_hash_revision) hash->clear_hash_revision();
  }
}

std::string Encode(const Outcome& outcome) {
  if (outcome.code != 0) return fmt::format("{} {}", outcome.code, outcome.text);
  return std::visit([](const auto& response) { return response.SerializeAsString(); },
                    outcome.response);
}

}  // namespace cairn::test
