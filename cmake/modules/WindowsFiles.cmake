# What a file of Windows has in addition to its code: exported names, a version resource, and debug information in a file
# beside it.
include_guard(GLOBAL)
if(NOT WIN32)
  return()
endif()
enable_language(RC)

# clrhm_export_names(<target> <.def file>): the DLL exports the file's names. They are plain ones: GetProcAddress finds
# ClrHostMemoryCreate on each processor.
function(clrhm_export_names target file)
  set(file "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  if(NOT MINGW OR CMAKE_SIZEOF_VOID_P EQUAL 8)
    target_sources(${target} PRIVATE "${file}")
    return()
  endif()
  # On x86 the objects have the names with a suffix, such as ClrHostMemoryCreate@16. MSVC's linker knows that. MinGW's
  # takes the suffixed names, and --kill-at removes the suffix from the export and from the import library. A client
  # needs it in the import library, so dlltool makes that anew.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  file(READ "${file}" text)
  string(REGEX REPLACE "  [A-Za-z]+\n; ([A-Za-z]+@[0-9]+)" "  \\1" text "${text}")
  get_filename_component(name "${file}" NAME)
  set(suffixed "${CMAKE_CURRENT_BINARY_DIR}/generated/suffixed_${name}")
  file(CONFIGURE OUTPUT "${suffixed}" CONTENT "${text}" @ONLY)
  target_sources(${target} PRIVATE "${suffixed}")
  target_link_options(${target} PRIVATE -Wl,--kill-at)
  add_custom_command(
    TARGET ${target} POST_BUILD
    COMMAND "${CMAKE_DLLTOOL}" --kill-at --input-def "${suffixed}" --dllname "$<TARGET_FILE_NAME:${target}>"
            --output-lib "$<TARGET_LINKER_FILE:${target}>"
    VERBATIM)
endfunction()

# clrhm_version_resource(<variable> <file name> <description>): sets the variable to a resource script with the
# project's version, as Explorer and installers show it.
function(clrhm_version_resource variable name description)
  get_filename_component(extension "${name}" LAST_EXT)
  set(CLRHM_RESOURCE_TYPE VFT_APP)
  if(extension STREQUAL ".dll")
    set(CLRHM_RESOURCE_TYPE VFT_DLL)
  endif()
  set(CLRHM_RESOURCE_NAME "${name}")
  set(CLRHM_RESOURCE_DESCRIPTION "${description}")
  set(script "${CMAKE_CURRENT_BINARY_DIR}/generated/${name}.rc")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/modules/version.rc.in" "${script}" @ONLY)
  set(${variable} "${script}" PARENT_SCOPE)
endfunction()

# clrhm_compile_with_symbols(<target>...): debuggers and profilers can name functions and lines.
function(clrhm_compile_with_symbols)
  if(NOT CLRHM_SYMBOLS)
    return()
  endif()
  foreach(target IN LISTS ARGN)
    target_compile_options(${target} PRIVATE $<IF:$<BOOL:${MSVC}>,/Zi,-g1>)
  endforeach()
endfunction()

# clrhm_split_symbols(<program or DLL>...): the debug information is in a PDB file, or in <file>.debug, which GDB finds.
function(clrhm_split_symbols)
  if(NOT CLRHM_SYMBOLS)
    return()
  endif()
  foreach(target IN LISTS ARGN)
    if(MSVC)
      # Without the other options, /DEBUG would keep functions that nothing calls.
      target_link_options(${target} PRIVATE /DEBUG $<$<NOT:$<CONFIG:Debug>>:/OPT:REF> $<$<NOT:$<CONFIG:Debug>>:/OPT:ICF>)
    else()
      set(file "$<TARGET_FILE:${target}>")
      add_custom_command(
        TARGET ${target} POST_BUILD
        COMMAND "${CMAKE_OBJCOPY}" --only-keep-debug "${file}" "${file}.debug"
        COMMAND "${CMAKE_OBJCOPY}" --strip-all "--add-gnu-debuglink=${file}.debug" "${file}"
        VERBATIM)
    endif()
  endforeach()
endfunction()
