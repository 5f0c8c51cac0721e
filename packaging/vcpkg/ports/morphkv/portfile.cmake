# SPDX-License-Identifier: Apache-2.0
#
# An overlay port, which installs the checkout that it lies in:
#   vcpkg install morphkv --overlay-ports=<checkout>/packaging/vcpkg/ports

get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

set(VCPKG_BUILD_TYPE release) # header-only
vcpkg_cmake_configure(
  SOURCE_PATH
  "${SOURCE_PATH}"
  OPTIONS
  -DMORPHKV_BUILD_TESTS=OFF
  -DMORPHKV_BUILD_BENCHMARKS=OFF
  -DMORPHKV_BUILD_TOOLS=OFF
  -DMORPHKV_BUILD_EXAMPLES=OFF
  -DMORPHKV_INSTALL=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME morphkv CONFIG_PATH share/cmake/morphkv)
vcpkg_fixup_pkgconfig()

file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
