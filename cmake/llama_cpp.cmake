# SPDX-License-Identifier: Apache-2.0
#
# Finds llama.cpp (target llama) and its ggml (target ggml::ggml), for tools/llama_cpp and the benchmark of
# the kernels: where MORPHKV_LLAMA_CPP says, else where `./run build llama` puts it, else where CMake looks.

set(MORPHKV_LLAMA_CPP
    "$ENV{MORPHKV_LLAMA_CPP}"
    CACHE PATH "Where llama.cpp is installed; empty: build/llama_cpp/python, or where CMake finds it")
set(llama_cpp_prefix "${MORPHKV_LLAMA_CPP}")
set(llama_cpp_built ${PROJECT_SOURCE_DIR}/build/llama_cpp/python)
# Sanitizers are for our own code, and llama.cpp's takes long under them.
if(NOT llama_cpp_prefix
   AND NOT MORPHKV_SANITIZE
   AND NOT CMAKE_CROSSCOMPILING
   AND EXISTS ${llama_cpp_built}/lib/cmake/llama)
  set(llama_cpp_prefix ${llama_cpp_built})
endif()

# Another prefix than last time: nothing that was found in the old one stays.
if(NOT "${llama_cpp_prefix}" STREQUAL "${morphkv_llama_cpp_prefix}")
  get_cmake_property(variables CACHE_VARIABLES)
  list(FILTER variables INCLUDE REGEX "^(llama_DIR|ggml_DIR|llama_LIBRARY|GGML_(.+_)?LIBRARY)$")
  foreach(variable IN LISTS variables)
    unset(${variable} CACHE)
  endforeach()
endif()
set(morphkv_llama_cpp_prefix
    "${llama_cpp_prefix}"
    CACHE INTERNAL "Where llama.cpp was looked for")

find_package(llama CONFIG QUIET HINTS ${llama_cpp_prefix})
if(NOT TARGET ggml::ggml)
  find_package(ggml CONFIG QUIET HINTS ${llama_cpp_prefix})
endif()

# morphkv_link_llama_cpp(<program> <library>): llama, or ggml::ggml. The libraries have no path to each
# other, so the program's must apply to them too.
function(morphkv_link_llama_cpp program library)
  target_link_libraries(${program} PRIVATE ${library})
  get_target_property(location ${library} IMPORTED_LOCATION)
  get_filename_component(folder ${location} DIRECTORY)
  set_target_properties(${program} PROPERTIES BUILD_RPATH ${folder})
  target_link_options(${program} PRIVATE LINKER:--disable-new-dtags)
endfunction()
