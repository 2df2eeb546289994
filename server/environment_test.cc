#include "server/environment.h"

#include <gtest/gtest.h>

#include <map>

namespace cairn::server {
namespace {

TEST(EnvironmentTest, NamesOfFlags) {
  EXPECT_EQ(EnvironmentName("CAIRN_", "data-dir"), "CAIRN_DATA_DIR");
  EXPECT_EQ(EnvironmentName("ETCD_", "name"), "ETCD_NAME");
}

TEST(EnvironmentTest, WhatNoFlagAnswersToIsNamed) {
  const char* const flags[] = {"name"};
  const char* environment[] = {"PATH=/bin", "CAIRN_NAME=x", "ETCD_ENABLE_V2=true", "CAIRN_NAMES=y",
                               nullptr};
  EXPECT_EQ(UnknownEnvironment(environment, flags),
            (std::vector<std::string>{"ETCD_ENABLE_V2", "CAIRN_NAMES"}));
}

TEST(EnvironmentTest, WhatWouldMakeItAnotherMemberIsUnserved) {
  using Variables = std::map<std::string, std::string>;
  const auto unserved = [](const Variables& variables) {
    return UnservedVariable([&](const char* name) {
             const auto found = variables.find(name);
             return found == variables.end() ? nullptr : found->second.c_str();
           })
        .value_or("none");
  };
  EXPECT_EQ(unserved({{"ETCD_CONFIG_FILE", "/etc/etcd.yml"}}), "ETCD_CONFIG_FILE");
  EXPECT_EQ(unserved({{"CAIRN_CLIENT_CERT_AUTH", "true"}}), "CAIRN_CLIENT_CERT_AUTH");
  EXPECT_EQ(unserved({{"ETCD_CLIENT_CERT_AUTH", "false"}, {"ETCD_CERT_FILE", ""}}), "none");
  // Both are looked at, whatever the other one says.
  EXPECT_EQ(unserved({{"CAIRN_PEER_AUTO_TLS", "false"}, {"ETCD_PEER_AUTO_TLS", "true"}}),
            "ETCD_PEER_AUTO_TLS");
  EXPECT_EQ(unserved({{"ETCD_NAME", "a"}, {"ETCD_SERVICE_HOST", "10.0.0.1"}}), "none");
}

}  // namespace
}  // namespace cairn::server
