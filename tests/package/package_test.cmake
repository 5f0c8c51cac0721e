# SPDX-License-Identifier: Apache-2.0
#
# One packaging test: cmake -DCASE=<name> ... -P package_test.cmake. See CMakeLists.txt beside it
# for the variables.
cmake_minimum_required(VERSION 3.22)

string(REPLACE "." ";" parts ${VERSION})
list(GET parts 0 major)
list(GET parts 1 minor)
list(GET parts 2 patch)
math(EXPR next_major "${major} + 1")
math(EXPR next_minor "${minor} + 1")
math(EXPR next_patch "${patch} + 1")

set(prefix ${WORK_DIR}/moved) # where the installed tree lies after it was moved
set(case_dir ${WORK_DIR}/${CASE})
file(REMOVE_RECURSE ${case_dir})
file(MAKE_DIRECTORY ${case_dir})

# run(<command>...): fails the test with the command's output where the command fails.
function(run)
  execute_process(
    COMMAND ${ARGN}
    WORKING_DIRECTORY ${case_dir}
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}\n${output}")
  endif()
endfunction()

# The consumer's configure step, with more arguments for it; the result and the output go to
# `result` and `output`.
macro(configure_consumer)
  execute_process(
    COMMAND
      ${CMAKE_COMMAND} -G ${GENERATOR} -S ${SOURCE_DIR}/tests/package/consumer -B ${case_dir}/build
      -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=${COMPILER}
      -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DEigen3_DIR=${Eigen3_DIR}
      -DEXPECTED_VERSION=${VERSION} ${ARGN}
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
endmacro()

macro(expect_success)
  configure_consumer(${ARGN})
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "the consumer does not configure:\n${output}")
  endif()
endmacro()

function(build_and_run_consumer)
  expect_success(${ARGN})
  run(${CMAKE_COMMAND} --build ${case_dir}/build)
  run(${case_dir}/build/consumer)
endfunction()

# The consumer must be refused, with a message that contains `text`.
function(expect_refusal text)
  configure_consumer(${ARGN})
  if(result EQUAL 0)
    message(FATAL_ERROR "the consumer configured, but had to be refused:\n${output}")
  endif()
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(NOT output MATCHES "${text}")
    message(FATAL_ERROR "refused, but not for the reason '${text}':\n${output}")
  endif()
endfunction()

# The prefix is moved after the installation, so it must not contain its former path.
function(check_relocatable)
  file(GLOB_RECURSE files ${prefix}/*)
  if(NOT files)
    message(FATAL_ERROR "nothing was installed")
  endif()
  foreach(file IN LISTS files)
    file(READ ${file} text)
    foreach(place IN ITEMS ${case_dir} ${SOURCE_DIR}/ ${BINARY_DIR})
      string(FIND "${text}" "${place}" found)
      if(NOT found EQUAL -1)
        message(FATAL_ERROR "${file} names ${place}")
      endif()
    endforeach()
  endforeach()
  foreach(header IN ITEMS morphkv/version.hpp morphkv/morphkv.hpp)
    if(NOT EXISTS ${prefix}/include/${header})
      message(FATAL_ERROR "${header} was not installed")
    endif()
  endforeach()
endfunction()

if(CASE STREQUAL "install")
  file(REMOVE_RECURSE ${prefix})
  run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${case_dir}/first)
  file(RENAME ${case_dir}/first ${prefix})
  check_relocatable()

elseif(CASE STREQUAL "find_package")
  build_and_run_consumer(-DMORPHKV_FROM=find_package -DCMAKE_PREFIX_PATH=${prefix})

elseif(CASE STREQUAL "find_kernels")
  # The library of kernels is compiled in the user's build; the user's unit has none.
  build_and_run_consumer(-DMORPHKV_FROM=find_package -DCMAKE_PREFIX_PATH=${prefix}
                         -DMORPHKV_TARGET=morphkv::kernels)

elseif(CASE STREQUAL "find_version")
  # The version itself, its minor version, and the range that ends before the next: before 1.0.0 a
  # minor version may change the interface.
  foreach(version IN ITEMS ${VERSION} ${major}.${minor} ${major}.${minor}...<${major}.${next_minor})
    file(REMOVE_RECURSE ${case_dir}/build)
    expect_success(-DMORPHKV_FROM=find_package -DCMAKE_PREFIX_PATH=${prefix}
                   -DMORPHKV_WANTED=${version})
  endforeach()

elseif(CASE STREQUAL "version_mismatch")
  # Versions that do not exist yet, and one with another interface.
  set(refused ${next_major}.0 ${major}.${next_minor} ${major}.${minor}.${next_patch})
  if(minor GREATER 0)
    math(EXPR last_minor "${minor} - 1")
    list(APPEND refused ${major}.${last_minor})
  endif()
  foreach(version IN LISTS refused)
    file(REMOVE_RECURSE ${case_dir}/build)
    expect_refusal("compatible with requested version" -DMORPHKV_FROM=find_package
                   -DCMAKE_PREFIX_PATH=${prefix} -DMORPHKV_WANTED=${version})
  endforeach()

elseif(CASE STREQUAL "find_component")
  # An optional component that does not exist is no error; the package reports that it is missing.
  expect_success(
    -DMORPHKV_FROM=find_package -DCMAKE_PREFIX_PATH=${prefix} -DMORPHKV_WANTED=${major}.${minor}
    "-DMORPHKV_COMPONENTS=COMPONENTS headers OPTIONAL_COMPONENTS no_such_component")
  if(NOT output MATCHES "headers: TRUE, cuda: , no_such_component: FALSE")
    message(FATAL_ERROR "the package does not say which components it found:\n${output}")
  endif()

elseif(CASE STREQUAL "cuda_component")
  # With a CUDA toolkit it is a target; without one it is refused, with the reason.
  set(wanted -DMORPHKV_FROM=find_package -DCMAKE_PREFIX_PATH=${prefix}
             "-DMORPHKV_COMPONENTS=COMPONENTS headers cuda")
  if(CUDA)
    expect_success(${wanted})
    if(NOT output MATCHES "headers: TRUE, cuda: TRUE" OR NOT output MATCHES "morphkv::cuda is there")
      message(FATAL_ERROR "the component cuda was asked for and is not there:\n${output}")
    endif()
  else()
    expect_refusal("component 'cuda' needs the CUDA toolkit" ${wanted})
  endif()

elseif(CASE STREQUAL "unknown_component")
  expect_refusal("has no component 'no_such_component'" -DMORPHKV_FROM=find_package
                 -DCMAKE_PREFIX_PATH=${prefix}
                 "-DMORPHKV_COMPONENTS=COMPONENTS headers no_such_component")

elseif(CASE STREQUAL "single_header")
  # A project without a build system, with one file of morphkv.
  if(NOT PYTHON)
    message("SKIPPED: python3 is not installed")
    return()
  endif()
  run(${PYTHON} ${SOURCE_DIR}/cmake/amalgamate.py ${SOURCE_DIR}/include
      ${case_dir}/vendored/morphkv/morphkv.hpp)
  run(${COMPILER} -std=c++20 -Ivendored -isystem ${EIGEN_INCLUDE_DIR}
      -DEXPECTED_VERSION="${VERSION}" ${SOURCE_DIR}/tests/package/consumer/main.cpp -o consumer)
  run(${case_dir}/consumer)

elseif(CASE STREQUAL "add_subdirectory")
  build_and_run_consumer(-DMORPHKV_FROM=add_subdirectory -DMORPHKV_PATH=${SOURCE_DIR}
                         -DMORPHKV_TARGET=morphkv::kernels)

elseif(CASE STREQUAL "fetch_content")
  if(NOT GIT)
    message("SKIPPED: git is not installed")
    return()
  endif()
  # A repository with the current files, committed or not, without the trained weights. Without .git, which
  # in a work tree is a file that refers to the developer's own repository.
  file(GLOB children LIST_DIRECTORIES true ${SOURCE_DIR}/*)
  list(FILTER children EXCLUDE REGEX "/(build[^/]*|shared|\\.git)$")
  file(COPY ${children} DESTINATION ${case_dir}/repository PATTERN models EXCLUDE)
  foreach(variable IN ITEMS GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE) # set where a git hook runs us
    unset(ENV{${variable}})
  endforeach()
  set(git ${GIT} -C ${case_dir}/repository -c user.name=test -c user.email=test@example.invalid
          -c commit.gpgsign=false)
  run(${git} init --quiet --initial-branch=main)
  run(${git} add --all)
  run(${git} commit --quiet --message=snapshot)
  build_and_run_consumer(-DMORPHKV_FROM=FetchContent -DMORPHKV_PATH=file://${case_dir}/repository)
  file(REMOVE_RECURSE ${case_dir}/repository)

elseif(CASE STREQUAL "pkg_config")
  if(NOT PKG_CONFIG)
    message("SKIPPED: pkg-config is not installed")
    return()
  endif()
  set(ENV{PKG_CONFIG_PATH} ${prefix}/share/pkgconfig:$ENV{PKG_CONFIG_PATH})
  execute_process(
    COMMAND ${PKG_CONFIG} --modversion morphkv
    OUTPUT_VARIABLE version
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT version STREQUAL VERSION)
    message(FATAL_ERROR "pkg-config says version ${version}, expected ${VERSION}")
  endif()
  execute_process(
    COMMAND ${PKG_CONFIG} --cflags --libs morphkv
    OUTPUT_VARIABLE flags
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  foreach(flag IN LISTS flags)
    if(NOT flag MATCHES "^-(I|isystem)")
      message(FATAL_ERROR "pkg-config hands out a flag that is not an include path: ${flag}")
    endif()
  endforeach()
  run(${COMPILER} -std=c++20 ${flags} -DEXPECTED_VERSION="${VERSION}"
      ${SOURCE_DIR}/tests/package/consumer/main.cpp -o consumer)
  run(${case_dir}/consumer)

elseif(CASE STREQUAL "conan")
  if(NOT CONAN)
    message("SKIPPED: conan is not installed")
    return()
  endif()
  set(ENV{CONAN_HOME} ${case_dir}/home)
  set(ENV{EIGEN_INCLUDE_DIR} ${EIGEN_INCLUDE_DIR})
  # It builds its test package in the folder of the recipe, so the recipe gets a tree of its own.
  foreach(part IN ITEMS LICENSE include packaging tests/package/consumer tests/package/conan_eigen)
    get_filename_component(folder ${part} DIRECTORY)
    file(COPY ${SOURCE_DIR}/${part} DESTINATION ${case_dir}/copy/${folder})
  endforeach()
  run(${CONAN} profile detect)
  run(${CONAN} create ${case_dir}/copy/tests/package/conan_eigen --no-remote)
  run(${CONAN} create ${case_dir}/copy/packaging/conan --no-remote -s compiler.cppstd=20)

elseif(CASE STREQUAL "vcpkg")
  set(port_dir ${SOURCE_DIR}/packaging/vcpkg/ports/morphkv)
  file(READ ${port_dir}/vcpkg.json manifest)
  string(JSON version GET "${manifest}" version)
  if(NOT version STREQUAL VERSION)
    message(FATAL_ERROR "vcpkg.json says version ${version}, expected ${VERSION}")
  endif()
  string(JSON PORT GET "${manifest}" name)
  set(CURRENT_PACKAGES_DIR ${case_dir}/packages)
  set(CURRENT_BUILDTREES_DIR ${case_dir}/buildtrees)
  include(${CMAKE_CURRENT_LIST_DIR}/vcpkg_functions.cmake)
  include(${port_dir}/portfile.cmake)
  foreach(file IN ITEMS copyright usage morphkv-config.cmake)
    if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/share/morphkv/${file})
      message(FATAL_ERROR "the port does not install share/morphkv/${file}")
    endif()
  endforeach()
  build_and_run_consumer(-DMORPHKV_FROM=find_package -DCMAKE_PREFIX_PATH=${CURRENT_PACKAGES_DIR})

else()
  message(FATAL_ERROR "unknown case '${CASE}'")
endif()
