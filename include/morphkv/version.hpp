// SPDX-License-Identifier: Apache-2.0
//
// The version of morphkv, for the preprocessor. This is the only place that states it: the build
// reads it from here.
//
//     #if MORPHKV_VERSION >= 100  // 0.1.0 or newer
//
// The scheme is semantic versioning. Before 1.0.0 a new minor version may change the interface; a
// new patch version never does.
#ifndef MORPHKV_VERSION_HPP
#define MORPHKV_VERSION_HPP

#define MORPHKV_VERSION_MAJOR 0
#define MORPHKV_VERSION_MINOR 1
#define MORPHKV_VERSION_PATCH 0

/// One number that grows with every release: 10000 * major + 100 * minor + patch.
#define MORPHKV_VERSION \
  (MORPHKV_VERSION_MAJOR * 10000 + MORPHKV_VERSION_MINOR * 100 + MORPHKV_VERSION_PATCH)

#define MORPHKV_DETAIL_STRINGIZE_(x) #x
#define MORPHKV_DETAIL_STRINGIZE(x) MORPHKV_DETAIL_STRINGIZE_(x)

/// The version as text: "major.minor.patch".
#define MORPHKV_VERSION_STRING                                                      \
  MORPHKV_DETAIL_STRINGIZE(MORPHKV_VERSION_MAJOR)                                   \
  "." MORPHKV_DETAIL_STRINGIZE(MORPHKV_VERSION_MINOR) "." MORPHKV_DETAIL_STRINGIZE( \
      MORPHKV_VERSION_PATCH)

#endif  // MORPHKV_VERSION_HPP
