# SPDX-License-Identifier: Apache-2.0
#
# How morphkv's own tests, benchmarks and examples are built. Nothing here touches the target
# morphkv, a directory or a global variable of a project that includes us: every flag lives on the
# helper targets below, which are never installed.

if(morphkv_is_top_level)
  # Measured programs are the point of this library, so the default is an optimised build.
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set_property(CACHE CMAKE_BUILD_TYPE PROPERTY VALUE Release)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()

find_package(Threads REQUIRED)

# morphkv_dev_options: warnings and sanitizers, for our own code only. Eigen and the other
# dependencies are imported targets, hence system headers, hence silent.
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
endif()

if(MORPHKV_SANITIZE STREQUAL "address")
  set(morphkv_sanitizer -fsanitize=address,undefined -fno-sanitize-recover=all
                        -fno-omit-frame-pointer)
elseif(MORPHKV_SANITIZE STREQUAL "thread")
  set(morphkv_sanitizer -fsanitize=thread -fno-omit-frame-pointer)
elseif(MORPHKV_SANITIZE)
  message(FATAL_ERROR "MORPHKV_SANITIZE is '${MORPHKV_SANITIZE}'; it must be empty, address or thread")
endif()
if(MORPHKV_SANITIZE)
  target_compile_options(morphkv_dev_options INTERFACE ${morphkv_sanitizer})
  target_link_options(morphkv_dev_options INTERFACE ${morphkv_sanitizer})
endif()

# morphkv_program_options: what every program of ours may use. Headers shared by programs are
# included by their path from examples/ or bench/. CLI11 and nlohmann-json are used where they are
# found.
add_library(morphkv_program_options INTERFACE)
target_link_libraries(morphkv_program_options INTERFACE morphkv_dev_options morphkv::morphkv
                                                        Threads::Threads)
target_include_directories(morphkv_program_options INTERFACE ${PROJECT_SOURCE_DIR}/examples
                                                             ${PROJECT_SOURCE_DIR}/bench)
find_package(CLI11 CONFIG QUIET)
find_package(nlohmann_json CONFIG QUIET)
if(TARGET CLI11::CLI11)
  target_link_libraries(morphkv_program_options INTERFACE CLI11::CLI11)
endif()
if(TARGET nlohmann_json::nlohmann_json)
  target_link_libraries(morphkv_program_options INTERFACE nlohmann_json::nlohmann_json)
endif()

# All programs land in one folder: build/<preset>/bin.
set(morphkv_program_dir ${PROJECT_BINARY_DIR}/bin)

# morphkv_add_program(<name> <source>...): one program of ours. It is left out, with a line that
# says so, where a library that its sources include is not installed.
function(morphkv_add_program name)
  foreach(source IN LISTS ARGN)
    file(READ ${source} text)
    foreach(library IN ITEMS CLI11 nlohmann_json)
      string(REPLACE "_json" "" include_dir ${library}) # <CLI/CLI.hpp>, <nlohmann/json.hpp>
      string(REPLACE "CLI11" "CLI" include_dir ${include_dir})
      string(FIND "${text}" "#include <${include_dir}/" found)
      if(found GREATER_EQUAL 0 AND NOT TARGET ${library}::${library})
        message(STATUS "${name} is not built: ${library} was not found")
        return()
      endif()
    endforeach()
  endforeach()
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE morphkv_program_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${morphkv_program_dir}
                                           CXX_EXTENSIONS OFF)
endfunction()

# amalgamate: the whole library as one header, in build/<preset>/single_include. It has the name of
# the header that includes everything, so a project changes from one to the other by its include path.
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
