# cmake --install, and the package that gives find_package(ClrHostMemory) the target
# ClrHostMemory::ClrHostMemory. Windows only: the portable layers are no product of their own.
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
  install(TARGETS clrmem RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
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
