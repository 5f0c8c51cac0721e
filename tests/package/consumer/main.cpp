// SPDX-License-Identifier: Apache-2.0
//
// A user's program: it includes the library and checks that it got the version that it asked for.
#include <morphkv/morphkv.hpp>

#include <cstdio>
#include <cstring>

int main() {
  std::printf("morphkv %s\n", MORPHKV_VERSION_STRING);
  return std::strcmp(MORPHKV_VERSION_STRING, EXPECTED_VERSION) == 0 ? 0 : 1;
}
