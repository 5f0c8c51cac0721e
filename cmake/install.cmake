# SPDX-License-Identifier: Apache-2.0
#
# A relocatable install: headers, find_package(morphkv CONFIG), pkg-config. It contains no absolute path
# and does not depend on the machine that installed it.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(morphkv_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/morphkv)
set(morphkv_pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.23)
  install(
    TARGETS morphkv
    EXPORT morphkv-targets
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
else()
  target_include_directories(morphkv INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS morphkv EXPORT morphkv-targets)
  install(
    DIRECTORY include/
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING
    PATTERN "*.hpp"
    PATTERN "*.cuh")
endif()
install(
  EXPORT morphkv-targets
  NAMESPACE morphkv::
  DESTINATION ${morphkv_package_dir})

configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/morphkv-config.cmake.in ${PROJECT_BINARY_DIR}/morphkv-config.cmake
  INSTALL_DESTINATION ${morphkv_package_dir}
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0.0 a minor version may break the interface, so only the patch version may differ.
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/morphkv-config-version.cmake
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/morphkv-config.cmake
              ${PROJECT_BINARY_DIR}/morphkv-config-version.cmake
              ${PROJECT_SOURCE_DIR}/cmake/separate_kernels.cpp
        DESTINATION ${morphkv_package_dir})

# pkg-config finds the headers relative to the .pc file, so the prefix can be moved.
set(morphkv_pkgconfig_full_dir ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig)
file(RELATIVE_PATH morphkv_pc_prefix ${morphkv_pkgconfig_full_dir} ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH morphkv_pc_include ${morphkv_pkgconfig_full_dir}
     ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/morphkv.pc.in ${PROJECT_BINARY_DIR}/morphkv.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/morphkv.pc DESTINATION ${morphkv_pkgconfig_dir})
