// SPDX-License-Identifier: Apache-2.0
// Prints the tables of docs/memory.md; a test compares them with the page.

#include <cstdio>

#include "memory/tables.hpp"

int main() {
  std::printf("%s\n%s\n%s", morphkv::memory::full_cache_table().c_str(),
              morphkv::memory::constant_cache_table().c_str(),
              morphkv::memory::kinds_table().c_str());
}
