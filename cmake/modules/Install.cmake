# Sets up cmake --install and the package with which find_package(ClrHostMemory) provides the target
# ClrHostMemory::ClrHostMemory. Windows only: the portable layers alone are not a product.
if(NOT TARGET ClrHostMemory)
  return()
endif()

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(_clrhm_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ClrHostMemory")

install(
  TARGETS ClrHostMemory
  EXPORT ClrHostMemoryTargets
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
if(TARGET clrmem)
  install(TARGETS clrmem clrmem_agent RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  install(FILES "${CLRHM_COMPANION}" DESTINATION "${CMAKE_INSTALL_BINDIR}" OPTIONAL)
endif()

install(EXPORT ClrHostMemoryTargets NAMESPACE ClrHostMemory:: DESTINATION "${_clrhm_package_dir}")
configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/ClrHostMemoryConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/ClrHostMemoryConfig.cmake" INSTALL_DESTINATION "${_clrhm_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ClrHostMemoryConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ClrHostMemoryConfig.cmake"
              "${PROJECT_BINARY_DIR}/ClrHostMemoryConfigVersion.cmake"
        DESTINATION "${_clrhm_package_dir}")
