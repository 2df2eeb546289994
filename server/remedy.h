// What an operator is told to do about an error of log or state that ends the member.
//
// One wording for all who find such an error, whatever they read or wrote. Stateless.
#ifndef CAIRN_SERVER_REMEDY_H_
#define CAIRN_SERVER_REMEDY_H_

#include <absl/status/status.h>

namespace cairn::server {

// `error` with what it means and what to do behind its text: DATA_LOSS (what was stored is not what
// was written) and INTERNAL (the disk did not do what it was asked to). Any other is returned as it
// is, and so is OK.
absl::Status WithRemedy(absl::Status error);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_REMEDY_H_
