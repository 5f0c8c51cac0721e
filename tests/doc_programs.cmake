# SPDX-License-Identifier: Apache-2.0
#
# Every C++ block of README.md and docs/ is a program that is built and run.

function(morphkv_add_doc_programs document)
  set_property(
    DIRECTORY
    APPEND
    PROPERTY CMAKE_CONFIGURE_DEPENDS ${document})
  get_filename_component(stem ${document} NAME_WE)
  string(TOLOWER ${stem} stem)
  file(READ ${document} rest)
  set(count 0)
  while(TRUE)
    string(FIND "${rest}" "\n```cpp\n" begin)
    if(begin EQUAL -1)
      return()
    endif()
    math(EXPR begin "${begin} + 8")
    string(SUBSTRING "${rest}" ${begin} -1 rest)
    string(FIND "${rest}" "\n```" end)
    string(SUBSTRING "${rest}" 0 ${end} block)
    string(SUBSTRING "${rest}" ${end} -1 rest)
    string(FIND "${block}" "int main(" main)
    if(main EQUAL -1)
      message(FATAL_ERROR "${document} has a C++ block without a main(), which cannot be run:\n"
                          "${block}")
    endif()
    math(EXPR count "${count} + 1")
    set(name doc_${stem}_${count})
    set(source ${CMAKE_CURRENT_BINARY_DIR}/docs/${name}.cpp)
    # Written only when the block changed, so that editing prose rebuilds nothing.
    set(text "// From ${document}\n${block}\n")
    set(old "")
    if(EXISTS ${source})
      file(READ ${source} old)
    endif()
    if(NOT old STREQUAL text)
      file(WRITE ${source} "${text}")
    endif()
    morphkv_add_program(${name} ${source})
    if(TARGET ${name})
      morphkv_optimise_less(${name})
      add_test(NAME doc.${stem}.${count} COMMAND ${name})
    endif()
  endwhile()
endfunction()

file(
  GLOB documents
  CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/README.md
  ${PROJECT_SOURCE_DIR}/docs/*.md)
foreach(document IN LISTS documents)
  morphkv_add_doc_programs(${document})
endforeach()
