# ------------------------------------------------------------------------------ compiler checks
# Slicer checks the compiler of every extension, also of one that compiles nothing. Its
# UseSlicer.cmake.in includes, in this order,
# * SlicerBlockPlatformCheck.cmake, which stops on Windows below a version of Visual Studio (its
#   "if(MSVC_VERSION VERSION_LESS ...)"; a project without languages has no MSVC_VERSION);
# * ITKPlatformSpecificChecks.cmake, whose line 115 asks on every system whether the C++ compiler
#   accepts a flag; itkCheckCXXAcceptsFlags.cmake does that with try_compile, which is an error
#   for a language that is not enabled.
# (github.com/Slicer/Slicer, folder CMake)
if(WIN32 AND (NOT MSVC_VERSION OR MSVC_VERSION VERSION_LESS 1900))
  message(FATAL_ERROR "Slicer needs Visual Studio 2015 or newer; MSVC_VERSION is '${MSVC_VERSION}'")
endif()
file(WRITE "${CMAKE_BINARY_DIR}/accepts_flags.cxx" "int main() { return 0; }\n")
try_compile(STUB_CXX_WORKS "${CMAKE_BINARY_DIR}/accepts_flags"
  "${CMAKE_BINARY_DIR}/accepts_flags.cxx")
if(NOT STUB_CXX_WORKS OR NOT CMAKE_CXX_COMPILER_VERSION)
  message(FATAL_ERROR "Slicer compiles C++ while it configures an extension, and that failed")
endif()

# ------------------------------------------------------------------------- extension metadata
if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME "${PROJECT_NAME}")
endif()
foreach(field HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL)
  if("${EXTENSION_${field}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${field} must be set before include(\${Slicer_USE_FILE})")
  endif()
endforeach()

option(BUILD_TESTING "Test the extension" ON)
enable_testing()
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR
  "Extensions-${Slicer_REVISION}/${EXTENSION_NAME}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set_property(GLOBAL PROPERTY STUB_MODULES "")

# --------------------------------------------------------------------------- scripted modules
# Copies scripts and resources into the build tree and installs them. Refuses what Slicer's own
# macro configures, builds and then silently does not install: absolute paths and "../".
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(ARG "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES"
    ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT ARG_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is mandatory")
  endif()
  if(NOT ARG_SCRIPTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: SCRIPTS is mandatory")
  endif()
  set(subfolder "")
  if(ARG_WITH_SUBDIR)
    get_filename_component(subfolder "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    set(subfolder "/${subfolder}")
  endif()
  set(copies)
  foreach(file IN LISTS ARG_SCRIPTS ARG_RESOURCES)
    if(IS_ABSOLUTE "${file}" OR file MATCHES "\\.\\./")
      message(FATAL_ERROR "${file}: is not below the module's folder, so it is not installed")
    endif()
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    if(NOT EXISTS "${source}" OR IS_DIRECTORY "${source}")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule given nonexistent file '${file}'")
    endif()
    set(copy "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}${subfolder}/${file}")
    add_custom_command(OUTPUT "${copy}" DEPENDS "${source}"
      COMMAND ${CMAKE_COMMAND} -E copy "${source}" "${copy}")
    list(APPEND copies "${copy}")
    get_filename_component(folder "${file}" DIRECTORY)
    install(FILES "${source}"
      DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}${subfolder}/${folder}")
  endforeach()
  add_custom_target(${ARG_NAME} ALL DEPENDS ${copies})
  set_property(GLOBAL APPEND PROPERTY STUB_MODULES "${ARG_NAME}")
endfunction()

# -------------------------------------------------------------------------------------- tests
set(STUB_PYTHON python3 CACHE STRING "Python that has slicer-core and PySide6")
function(slicer_add_python_unittest)
  cmake_parse_arguments(ARG "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${ARG_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest: no such script ${ARG_SCRIPT}")
  endif()
  get_filename_component(name "${ARG_SCRIPT}" NAME_WE)
  add_test(NAME py_${ARG_TESTNAME_PREFIX}${name}
    COMMAND ${STUB_PYTHON} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/run_module_test.py
      "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${name}.py")
endfunction()
