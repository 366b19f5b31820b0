# The kernel of the test machine, as User Mode Linux: what `make allnoconfig` starts from.
# Everything here is wanted by a test or by a client; a boot takes a third of a second because
# nothing else is in it. `uml-fast.frag` or `uml-debug.frag` is added to it.

# The program itself. A PCI bus that no device sits on brings IO memory and DMA, without which UML
# has neither media nor DRM.
CONFIG_64BIT=y
CONFIG_EXPERT=y
CONFIG_STATIC_LINK=y
CONFIG_CC_OPTIMIZE_FOR_PERFORMANCE=y
CONFIG_UML_PCI_OVER_VFIO=y
CONFIG_HIGH_RES_TIMERS=y
CONFIG_NO_HZ_IDLE=y
CONFIG_DEBUG_INFO_NONE=y

# Modules come from outside, and go again.
CONFIG_MODULES=y
CONFIG_MODULE_UNLOAD=y

# The log, and names in its traces.
CONFIG_PRINTK=y
CONFIG_PRINTK_TIME=y
CONFIG_BUG=y
CONFIG_KALLSYMS=y
CONFIG_DYNAMIC_DEBUG=y
CONFIG_DEBUG_KERNEL=y
CONFIG_DETECT_HUNG_TASK=y
# To be asked from outside what it is at, when the time is over.
CONFIG_MCONSOLE=y
CONFIG_MAGIC_SYSRQ=y
CONFIG_STACKTRACE=y

# What glibc, GLib and ffmpeg expect of a kernel.
CONFIG_MULTIUSER=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_SIGNALFD=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_AIO=y
CONFIG_POSIX_TIMERS=y
CONFIG_ADVISE_SYSCALLS=y
CONFIG_MEMBARRIER=y
CONFIG_MEMFD_CREATE=y
CONFIG_INOTIFY_USER=y
CONFIG_FILE_LOCKING=y
CONFIG_FHANDLE=y
CONFIG_SYSVIPC=y
CONFIG_KCMP=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_ELF_CORE=y
CONFIG_COREDUMP=y
CONFIG_BLOCK=y
CONFIG_NET=y
CONFIG_UNIX=y

# What the daemon locks itself in with.
CONFIG_SECCOMP=y
CONFIG_SECCOMP_FILTER=y
CONFIG_SECURITY=y
CONFIG_SECURITYFS=y
CONFIG_SECURITY_LANDLOCK=y
CONFIG_LSM="landlock"
CONFIG_NAMESPACES=y
CONFIG_USER_NS=y
CONFIG_PID_NS=y

# Terminals: con0 is the kernel's log, the serial lines carry the command's output.
CONFIG_TTY=y
CONFIG_UNIX98_PTYS=y
CONFIG_STDERR_CONSOLE=y
CONFIG_SSL=y
CONFIG_NULL_CHAN=y

# Files: the root and what is shared are folders of the host.
CONFIG_HOSTFS=y
CONFIG_OVERLAY_FS=y
CONFIG_SHMEM=y
CONFIG_TMPFS=y
CONFIG_DEVTMPFS=y
CONFIG_DEVTMPFS_MOUNT=y
CONFIG_PROC_FS=y
CONFIG_PROC_SYSCTL=y
CONFIG_PROC_PAGE_MONITOR=y
CONFIG_SYSFS=y
CONFIG_SYSCTL=y
CONFIG_DEBUG_FS=y

# Buffers shared between devices.
CONFIG_DMABUF_HEAPS=y
CONFIG_DMABUF_HEAPS_SYSTEM=y
CONFIG_UDMABUF=y
CONFIG_SYNC_FILE=y

# V4L2. visl is the reference: it takes every codec's requests and shows their controls. It also
# selects the parts of videobuf2 that kinora_dec uses.
CONFIG_MEDIA_SUPPORT=m
CONFIG_MEDIA_SUPPORT_FILTER=y
CONFIG_MEDIA_PLATFORM_SUPPORT=y
CONFIG_MEDIA_TEST_SUPPORT=y
CONFIG_MEDIA_CONTROLLER=y
CONFIG_VIDEO_DEV=m
CONFIG_VIDEO_ADV_DEBUG=y
CONFIG_V4L_TEST_DRIVERS=y
CONFIG_VIDEO_VICODEC=m
CONFIG_VIDEO_VIVID=m
CONFIG_VIDEO_VISL=m

# A render node for libva.
CONFIG_DRM=m
CONFIG_DRM_VGEM=m
