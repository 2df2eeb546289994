// The protos against etcd's contract: every path, number, name and type, and nothing besides.
//
// testdata/contract.txt lists the facts one a line. The test writes the same list from the compiled
// descriptors and compares them both ways, so that a slip in either is found.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

#include "api/auth.pb.h"
#include "api/election.pb.h"
#include "api/kv.pb.h"
#include "api/lock.pb.h"
#include "api/rpc.pb.h"

namespace cairn::api {
namespace {

namespace pb = google::protobuf;

// A type as the list writes it: without the package, and without the message that it is nested in.
std::string Short(const std::string& full_name, const pb::FileDescriptor& from) {
  const std::string own = from.package() + ".";
  if (!full_name.starts_with(own)) return full_name;
  return full_name.substr(full_name.rfind('.') + 1);
}

std::string TypeOf(const pb::FieldDescriptor& field) {
  switch (field.type()) {
    case pb::FieldDescriptor::TYPE_MESSAGE:
      return Short(field.message_type()->full_name(), *field.file());
    case pb::FieldDescriptor::TYPE_ENUM:
      return Short(field.enum_type()->full_name(), *field.file());
    default:
      return field.type_name();
  }
}

void AddEnum(const pb::EnumDescriptor& type, std::set<std::string>* facts) {
  for (int i = 0; i < type.value_count(); ++i) {
    facts->insert(fmt::format("enum {} {} {}", type.full_name(), type.value(i)->number(),
                              type.value(i)->name()));
  }
}

void AddMessage(const pb::Descriptor& message, std::set<std::string>* facts) {
  facts->insert(fmt::format("message {}", message.full_name()));
  for (int i = 0; i < message.field_count(); ++i) {
    const pb::FieldDescriptor& field = *message.field(i);
    std::string label;
    if (field.is_repeated()) label = " rep";
    if (field.containing_oneof() != nullptr) label = " oneof:" + field.containing_oneof()->name();
    facts->insert(fmt::format("field {} {} {} {}{}", message.full_name(), field.number(),
                              field.name(), TypeOf(field), label));
  }
  for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i), facts);
}

void AddService(const pb::ServiceDescriptor& service, std::set<std::string>* facts) {
  for (int i = 0; i < service.method_count(); ++i) {
    const pb::MethodDescriptor& method = *service.method(i);
    facts->insert(
        fmt::format("rpc /{}/{} {}{} -> {}{}", service.full_name(), method.name(),
                    method.client_streaming() ? "stream " : "", method.input_type()->name(),
                    method.server_streaming() ? "stream " : "", method.output_type()->name()));
  }
}

std::set<std::string> CompiledFacts() {
  std::set<std::string> facts;
  for (const pb::FileDescriptor* file : {
           authpb::User::descriptor()->file(),
           etcdserverpb::RangeRequest::descriptor()->file(),
           mvccpb::KeyValue::descriptor()->file(),
           v3electionpb::LeaderKey::descriptor()->file(),
           v3lockpb::LockRequest::descriptor()->file(),
       }) {
    for (int i = 0; i < file->message_type_count(); ++i) AddMessage(*file->message_type(i), &facts);
    for (int i = 0; i < file->enum_type_count(); ++i) AddEnum(*file->enum_type(i), &facts);
    for (int i = 0; i < file->service_count(); ++i) AddService(*file->service(i), &facts);
  }
  return facts;
}

std::set<std::string> ListedFacts() {
  std::set<std::string> facts;
  std::ifstream file("api/testdata/contract.txt");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with('#')) facts.insert(line);
  }
  return facts;
}

TEST(Contract, ProtosSayExactlyWhatEtcdSays) {
  const std::set<std::string> compiled = CompiledFacts();
  const std::set<std::string> listed = ListedFacts();
  ASSERT_GT(listed.size(), 400U);
  for (const std::string& fact : listed) EXPECT_TRUE(compiled.contains(fact)) << "lost: " << fact;
  for (const std::string& fact : compiled) EXPECT_TRUE(listed.contains(fact)) << "extra: " << fact;
}

// The stored form: fields in the order of their numbers, zeros left out (HashKV covers the bytes).
TEST(Contract, KeyValueIsWrittenInOrderWithoutZeros) {
  mvccpb::KeyValue kv;
  kv.set_lease(7);
  kv.set_value("v");
  kv.set_key("k");
  kv.set_mod_revision(300);
  EXPECT_EQ(kv.SerializeAsString(), std::string("\x0a\x01k\x18\xac\x02\x2a\x01v\x30\x07"));
}

}  // namespace
}  // namespace cairn::api
