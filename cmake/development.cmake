# SPDX-License-Identifier: Apache-2.0
#
# How the tests, benchmarks, tools and examples of morphkv are built. Nothing here changes the target
# morphkv, or a directory or global variable of a project that includes it: all flags are on the helper
# targets below, which are never installed.

if(morphkv_is_top_level)
  # Programs are measured, so the default is an optimised build.
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set_property(CACHE CMAKE_BUILD_TYPE PROPERTY VALUE Release)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()

find_package(Threads REQUIRED)

# morphkv_dev_options: warnings and sanitizers, for our own code only. Eigen and the other dependencies
# are imported targets, whose headers are system headers without warnings.
add_library(morphkv_dev_options INTERFACE)
if(MSVC)
  target_compile_options(morphkv_dev_options
                         INTERFACE /W4 /permissive- $<$<BOOL:${MORPHKV_WARNINGS_AS_ERRORS}>:/WX>)
else()
  # Clang counts -Wsign-conversion as part of -Wconversion; naming it makes GCC agree.
  target_compile_options(
    morphkv_dev_options
    INTERFACE -Wall
              -Wextra
              -Wpedantic
              -Wshadow
              -Wconversion
              -Wsign-conversion
              $<$<BOOL:${MORPHKV_WARNINGS_AS_ERRORS}>:-Werror>)
  # GCC compiles a tenth faster if it begins to collect garbage at a gigabyte.
  target_compile_options(morphkv_dev_options
                         INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-heapsize=1000000>)
endif()

# Without three checks of every pointer, which the fuzzers make: what goes wrong by such a pointer is an
# access, which the address sanitizer reports. They take most of the kernels' compiling.
if(MORPHKV_SANITIZE STREQUAL "address")
  set(morphkv_sanitizer
      -fsanitize=address,undefined -fno-sanitize=null,object-size,pointer-overflow
      -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(MORPHKV_SANITIZE STREQUAL "fuzzer") # clang's; tests/fuzz
  set(morphkv_sanitizer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
                        -fno-omit-frame-pointer)
elseif(MORPHKV_SANITIZE STREQUAL "thread")
  set(morphkv_sanitizer -fsanitize=thread -fno-omit-frame-pointer)
elseif(MORPHKV_SANITIZE)
  message(
    FATAL_ERROR "MORPHKV_SANITIZE is '${MORPHKV_SANITIZE}'; it must be empty, address, fuzzer or thread")
endif()
if(MORPHKV_SANITIZE)
  target_compile_options(morphkv_dev_options INTERFACE ${morphkv_sanitizer})
  target_link_options(morphkv_dev_options INTERFACE ${morphkv_sanitizer})
endif()

# amalgamate: the whole library as one header, in build/<preset>/single_include. It has the name of the
# header that includes everything, so a project switches between the two by its include path.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_Interpreter_FOUND)
  set(morphkv_single_header ${PROJECT_BINARY_DIR}/single_include/morphkv/morphkv.hpp)
  add_custom_command(
    OUTPUT ${morphkv_single_header}
    COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/cmake/amalgamate.py
            ${PROJECT_SOURCE_DIR}/include ${morphkv_single_header}
    DEPENDS ${morphkv_headers} ${PROJECT_SOURCE_DIR}/cmake/amalgamate.py
    COMMENT "Writing the single header"
    VERBATIM)
  add_custom_target(amalgamate DEPENDS ${morphkv_single_header})
endif()

# MORPHKV_AMALGAMATED: our programs use the single header and nothing of include/. Every header that they
# include forwards to it.
option(MORPHKV_AMALGAMATED "Build our own programs against the single header" OFF)
set(morphkv_used morphkv)
if(MORPHKV_AMALGAMATED)
  if(NOT TARGET amalgamate)
    message(FATAL_ERROR "MORPHKV_AMALGAMATED is ON, which needs python3; it was not found")
  endif()
  set(forward_dir ${PROJECT_BINARY_DIR}/forward_to_single)
  foreach(header IN LISTS morphkv_headers)
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/include ${header})
    if(NOT name STREQUAL "morphkv/morphkv.hpp")
      file(CONFIGURE OUTPUT ${forward_dir}/${name} CONTENT "#include <morphkv/morphkv.hpp>\n")
    endif()
  endforeach()
  set(morphkv_used morphkv_single)
  add_library(morphkv_single INTERFACE)
  add_dependencies(morphkv_single amalgamate)
  target_compile_features(morphkv_single INTERFACE cxx_std_20)
  target_link_libraries(morphkv_single INTERFACE Eigen3::Eigen)
  target_include_directories(morphkv_single INTERFACE ${PROJECT_BINARY_DIR}/single_include
                                                      ${forward_dir})
  add_library(morphkv_single_kernels STATIC EXCLUDE_FROM_ALL cmake/separate_kernels.cpp)
  target_link_libraries(morphkv_single_kernels PUBLIC morphkv_single)
  target_compile_definitions(morphkv_single_kernels INTERFACE MORPHKV_SEPARATE_KERNELS)
endif()
set(morphkv_used_kernels ${morphkv_used}_kernels)

# morphkv_program_options: what each of our programs uses. tools/, examples/, bench/ and tests/ add
# the folders that they may include.
add_library(morphkv_program_options INTERFACE)
target_link_libraries(morphkv_program_options INTERFACE morphkv_dev_options Threads::Threads)

# morphkv_machine_options: flags for the widest vectors of this machine, for the few units that choose
# their instructions when they are compiled. Empty where the machine is unknown.
set(morphkv_machine_options "")
if(EXISTS /proc/cpuinfo
   AND NOT CMAKE_CROSSCOMPILING
   AND NOT MSVC)
  set(level_3 "fma.*movbe.*f16c.*abm.*bmi1.*avx2.*bmi2")
  file(STRINGS /proc/cpuinfo has_level_3 LIMIT_COUNT 1 REGEX "${level_3}")
  file(STRINGS /proc/cpuinfo has_level_4 LIMIT_COUNT 1
       REGEX "${level_3}.*avx512f.*avx512dq.*avx512cd.*avx512bw.*avx512vl")
  if(has_level_4)
    set(morphkv_machine_options -march=x86-64-v4)
  elseif(has_level_3)
    set(morphkv_machine_options -march=x86-64-v3)
  endif()
endif()

# The kernels are compiled once, for all of our programs. With a sanitizer they are optimised even in
# debug builds, because the tests spend most of their time in them, and the address sanitizer's checks are
# calls, which take half the compiling and a twentieth more of the kernels' tests. The fuzzers look for their
# ways through other code, and what is undefined in a kernel is a test's to find. (Options of the source come
# last, after the sanitizer's own.)
target_link_libraries(${morphkv_used_kernels} PRIVATE morphkv_dev_options)
if(MORPHKV_SANITIZE)
  set(options -O1)
  if(NOT MORPHKV_SANITIZE STREQUAL "thread")
    list(APPEND options -mllvm -asan-instrumentation-with-call-threshold=0)
  endif()
  if(MORPHKV_SANITIZE STREQUAL "fuzzer")
    list(APPEND options -fno-sanitize=undefined,fuzzer-no-link)
  endif()
  set_source_files_properties(${PROJECT_SOURCE_DIR}/cmake/separate_kernels.cpp
                              PROPERTIES COMPILE_OPTIONS "${options}")
endif()

# Optional libraries of single programs: a text in the sources that use it, the target, its name.
find_package(CLI11 CONFIG QUIET)
find_package(nlohmann_json CONFIG QUIET)
find_package(OpenMP QUIET COMPONENTS CXX)
find_path(MORPHKV_ASIO_INCLUDE_DIR asio.hpp)
mark_as_advanced(MORPHKV_ASIO_INCLUDE_DIR)
if(MORPHKV_ASIO_INCLUDE_DIR AND NOT TARGET asio::asio)
  add_library(asio::asio INTERFACE IMPORTED)
  target_include_directories(asio::asio INTERFACE ${MORPHKV_ASIO_INCLUDE_DIR})
endif()
set(morphkv_optional_libraries
    "#include <CLI/|CLI11::CLI11|CLI11"
    "#include <nlohmann/|nlohmann_json::nlohmann_json|nlohmann-json"
    "#include <asio/|asio::asio|Asio"
    "#include \"llama/|tools_llama|tools/llama"
    "#include \"comparison/contenders.hpp\"|tools_comparison|tools/comparison"
    "#include \"comparison/make_contender.hpp\"|tools_comparison|tools/comparison"
    "#include \"accuracy/|tools_comparison|tools/comparison"
    "#include \"papers/|tools_comparison|tools/comparison"
    "#include \"real/|tools_comparison|tools/comparison"
    "#include \"replay/sessions.hpp\"|replay_sessions|tools/replay"
    "#pragma omp|OpenMP::OpenMP_CXX|OpenMP")
foreach(library IN ITEMS CLI11::CLI11 nlohmann_json::nlohmann_json)
  if(TARGET ${library}) # headers that programs share include these
    target_link_libraries(morphkv_program_options INTERFACE ${library})
  endif()
endforeach()

# tools/llama reads tokenizer.json where PCRE2 and utf8proc are installed.
if(NOT CMAKE_CROSSCOMPILING)
  find_path(MORPHKV_PCRE2_INCLUDE_DIR pcre2.h)
  find_library(MORPHKV_PCRE2_LIBRARY pcre2-8)
  find_path(MORPHKV_UTF8PROC_INCLUDE_DIR utf8proc.h)
  find_library(MORPHKV_UTF8PROC_LIBRARY utf8proc)
endif()
mark_as_advanced(MORPHKV_PCRE2_INCLUDE_DIR MORPHKV_PCRE2_LIBRARY MORPHKV_UTF8PROC_INCLUDE_DIR
                 MORPHKV_UTF8PROC_LIBRARY)
if(MORPHKV_PCRE2_INCLUDE_DIR
   AND MORPHKV_PCRE2_LIBRARY
   AND MORPHKV_UTF8PROC_INCLUDE_DIR
   AND MORPHKV_UTF8PROC_LIBRARY)
  target_include_directories(morphkv_program_options SYSTEM INTERFACE ${MORPHKV_PCRE2_INCLUDE_DIR}
                                                                      ${MORPHKV_UTF8PROC_INCLUDE_DIR})
  target_link_libraries(morphkv_program_options INTERFACE ${MORPHKV_PCRE2_LIBRARY}
                                                          ${MORPHKV_UTF8PROC_LIBRARY})
  target_compile_definitions(morphkv_program_options INTERFACE MORPHKV_TOKENIZER_JSON)
else()
  message(STATUS "the programs cannot read tokenizer.json: PCRE2 or utf8proc was not found")
endif()

if(MORPHKV_BUILD_TOOLS OR MORPHKV_BUILD_BENCHMARKS)
  include(${CMAKE_CURRENT_LIST_DIR}/llama_cpp.cmake)
endif()

# The device headers: warnings of nvcc, and those of its host compiler that apply.
if(MORPHKV_CUDA)
  enable_language(CUDA)
  add_library(morphkv_cuda_options INTERFACE)
  target_link_libraries(morphkv_cuda_options INTERFACE morphkv::cuda)
  target_compile_options(
    morphkv_cuda_options
    INTERFACE
      $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;--Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Wshadow;-diag-suppress=20012,20014,1675>
  )
endif()

# All programs land in one folder: build/<preset>/bin.
set(morphkv_program_dir ${PROJECT_BINARY_DIR}/bin)

set(MORPHKV_UNITY
    6
    CACHE STRING "Sources of a program of ours that are compiled as one unit; 1: each alone")

# morphkv_compile_together(<name>): MORPHKV_UNITY sources at a time are compiled as one unit, because they
# instantiate the same templates. Six at a time take half as long as each alone, all at once a third.
function(morphkv_compile_together name)
  if(MORPHKV_UNITY GREATER 1)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${MORPHKV_UNITY})
  endif()
endfunction()

# morphkv_optimise_less(<name>): for programs that measure nothing, and whose compiling takes longer than
# running. The kernels that are compiled once are optimised all the same. (GCC compiles a third faster with
# -Og than with -O1.)
function(morphkv_optimise_less name)
  if(NOT MSVC)
    target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:$<IF:$<CXX_COMPILER_ID:GNU>,-Og,-O1>>)
  endif()
endfunction()

# morphkv_add_program(<name> [HEADER_ONLY] <source>...): one of our programs, with the kernels compiled
# once, or HEADER_ONLY in its own units. It is left out, with a message, where a library that its
# sources use is not installed.
function(morphkv_add_program name)
  set(libraries ${morphkv_used_kernels})
  if("HEADER_ONLY" IN_LIST ARGN)
    set(libraries ${morphkv_used})
    list(REMOVE_ITEM ARGN HEADER_ONLY)
  endif()
  foreach(source IN LISTS ARGN)
    file(READ ${source} text)
    foreach(entry IN LISTS morphkv_optional_libraries)
      string(REPLACE "|" ";" entry "${entry}")
      list(GET entry 0 use)
      list(GET entry 1 target)
      list(GET entry 2 library)
      string(FIND "${text}" "${use}" found)
      if(found EQUAL -1)
        continue()
      endif()
      if(NOT TARGET ${target})
        message(STATUS "${name} is not built: ${library} was not found")
        return()
      endif()
      list(APPEND libraries ${target})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES libraries)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE morphkv_program_options ${libraries})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${morphkv_program_dir}
                                           CXX_EXTENSIONS OFF)
endfunction()
