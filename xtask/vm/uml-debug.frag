# Added to uml.frag: the kernel that finds what a fast one lets pass.
#
# Deliberately absent: SLUB_DEBUG_ON (its first report is KASAN's own, a false one),
# DEBUG_KMEMLEAK (its scan reads what a static UML may not read), DEBUG_KOBJECT_RELEASE (delays each
# release by seconds).
CONFIG_LOCALVERSION="-kinora-debug"

# Races: two processors, and every lock's order.
CONFIG_SMP=y
CONFIG_NR_CPUS=4
CONFIG_PROVE_LOCKING=y
CONFIG_DEBUG_ATOMIC_SLEEP=y
CONFIG_RCU_CPU_STALL_TIMEOUT=120

# Memory.
CONFIG_KASAN=y
CONFIG_KASAN_OUTLINE=y
CONFIG_KASAN_VMALLOC=y
CONFIG_FRAME_POINTER=y
CONFIG_UBSAN=y
CONFIG_UBSAN_BOUNDS=y
CONFIG_UBSAN_SHIFT=y

# Objects that the drivers handle.
CONFIG_DEBUG_LIST=y
CONFIG_DEBUG_SG=y
CONFIG_DEBUG_OBJECTS=y
CONFIG_DEBUG_OBJECTS_FREE=y
CONFIG_DEBUG_OBJECTS_TIMERS=y
CONFIG_DEBUG_OBJECTS_WORK=y
CONFIG_DMA_API_DEBUG=y

# Allocations that fail, below /proc/PID and in debugfs.
CONFIG_FAULT_INJECTION=y
CONFIG_FAULT_INJECTION_DEBUG_FS=y
CONFIG_FAULT_INJECTION_USERCOPY=y
CONFIG_FAILSLAB=y
CONFIG_FAIL_PAGE_ALLOC=y
