# An overlay port: vcpkg install clr-host-memory --overlay-ports=<this tree>/packaging/vcpkg
# It builds the tree that it lies in.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

string(COMPARE EQUAL "${VCPKG_LIBRARY_LINKAGE}" "static" BUILD_STATIC)
string(COMPARE EQUAL "${VCPKG_LIBRARY_LINKAGE}" "dynamic" BUILD_SHARED)
vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS FEATURES tool CLRHM_BUILD_TOOL)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS ${FEATURE_OPTIONS}
          -DCLRHM_BUILD_STATIC=${BUILD_STATIC}
          -DCLRHM_BUILD_SHARED=${BUILD_SHARED}
          -DCLRHM_BUILD_TESTS=OFF
          -DCLRHM_SOURCE_CHECKS=OFF
          -DCLRHM_COMPANION=NOTFOUND)  # vcpkg has no .NET SDK; one that lies in the tree is not the port's
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME ClrHostMemory CONFIG_PATH lib/cmake/ClrHostMemory)
vcpkg_fixup_pkgconfig()
vcpkg_copy_pdbs()
if("tool" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES clrmem AUTO_CLEAN)
  # clrmem loads it from its own folder.
  file(COPY "${CURRENT_PACKAGES_DIR}/bin/clrmem-agent.dll" DESTINATION "${CURRENT_PACKAGES_DIR}/tools/${PORT}")
  file(REMOVE "${CURRENT_PACKAGES_DIR}/bin/clrmem-agent.dll" "${CURRENT_PACKAGES_DIR}/bin/clrmem-agent.pdb"
       "${CURRENT_PACKAGES_DIR}/debug/bin/clrmem-agent.dll" "${CURRENT_PACKAGES_DIR}/debug/bin/clrmem-agent.pdb"
       "${CURRENT_PACKAGES_DIR}/debug/bin/clrmem.exe" "${CURRENT_PACKAGES_DIR}/debug/bin/clrmem.pdb")
endif()
if(BUILD_STATIC)
  file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/bin" "${CURRENT_PACKAGES_DIR}/debug/bin")
endif()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE" "${SOURCE_PATH}/packaging/THIRD-PARTY-NOTICES.txt")
