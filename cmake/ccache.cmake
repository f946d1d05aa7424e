# Recompiling the same file is free where ccache is installed, also in another clone: paths below the source folder count
# as relative ones.
find_program(KL_CCACHE ccache)
if(KL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
                                  CCACHE_SLOPPINESS=pch_defines,time_macros
                                  ${KL_CCACHE})
endif()
