// Takes out of an answer what two correct servers may answer differently, so that the rest can be
// compared byte for byte. Pure.
//
//   - ids and term of the header: which of them are set stays, their values do not;
//   - the order of key-values that are equal in the asked order (it is not stable by contract), and
//     which of several equal ones stand at the cut of a limit;
//   - what the allow-list of the reference's version names (rules.h).
#ifndef CAIRN_TEST_DIFFERENTIAL_NORMALISE_H_
#define CAIRN_TEST_DIFFERENTIAL_NORMALISE_H_

#include <string>

#include "test/differential/operation.h"
#include "test/differential/rules.h"

namespace cairn::test {

// Changes `outcome`, an answer to `operation`, to its normal form. `rules` are those of the older
// of the two servers, applied to the answers of both.
void Normalise(const Operation& operation, const ReferenceRules& rules, Outcome& outcome);

// The bytes by which two normal forms are compared.
std::string Encode(const Outcome& outcome);

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_NORMALISE_H_
