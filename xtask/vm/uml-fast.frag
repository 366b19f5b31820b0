# Added to uml.frag: one CPU and no checks, for everything that compares, counts or measures.
CONFIG_LOCALVERSION="-kinora"
# Skips idle time when asked to; only without SMP.
CONFIG_UML_TIME_TRAVEL_SUPPORT=y
# What visl and V4L2 were told, in traces.
CONFIG_FTRACE=y
CONFIG_ENABLE_DEFAULT_TRACERS=y
