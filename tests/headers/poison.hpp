// SPDX-License-Identifier: Apache-2.0
//
// Words that some platform's headers define as macros. Our headers must not use them as names. The
// standard library and Eigen come first: what they do is not ours to check.
#ifndef MORPHKV_TESTS_HEADERS_POISON_HPP
#define MORPHKV_TESTS_HEADERS_POISON_HPP

#ifdef MORPHKV_TEST_POISON

#include <Eigen/Core>

#if __has_include(<bits/stdc++.h>)
#include <bits/stdc++.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Windows
#define small MORPHKV_TEST_POISONED
#define near MORPHKV_TEST_POISONED
#define far MORPHKV_TEST_POISONED
#define interface MORPHKV_TEST_POISONED
#define IN MORPHKV_TEST_POISONED
#define OUT MORPHKV_TEST_POISONED
#define ERROR MORPHKV_TEST_POISONED
// <complex.h> and <termios.h>
#define I MORPHKV_TEST_POISONED
#define B0 MORPHKV_TEST_POISONED

#endif  // MORPHKV_TEST_POISON

#endif  // MORPHKV_TESTS_HEADERS_POISON_HPP
