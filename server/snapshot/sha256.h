// SHA-256 of a stream of bytes.
//
// OpenSSL's, with the processor's instructions where there are some. One thread at a time.
#ifndef CAIRN_SERVER_SNAPSHOT_SHA256_H_
#define CAIRN_SERVER_SNAPSHOT_SHA256_H_

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"

namespace cairn::server {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    CAIRN_CHECK(context_ != nullptr);
    CAIRN_CHECK_EQ(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr), 1);
  }

  void Update(std::string_view bytes) {
    CAIRN_CHECK_EQ(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()), 1);
  }
  // 32 bytes. The last call.
  std::string Finish() {
    std::string digest(32, '\0');
    CAIRN_CHECK_EQ(EVP_DigestFinal_ex(context_.get(),
                                      reinterpret_cast<unsigned char*>(digest.data()), nullptr),
                   1);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_SHA256_H_
