#!/bin/bash
# The guest's part of `cargo xtask bench decode`. The clips are $KINORA_MEDIA/CODEC.EXTENSION of
# $FRAMES frames each; records go to /share. What is found is told on stdout, a line for each thing:
#
#   begin NAME, end NAME       between them the host counts the machine's CPU time
#   value NAME NUMBER          a figure
#
# decode.sh record           records each clip's jobs as a client makes them
# decode.sh pipelines TURNS SIDE...
#                            each clip through these, in turns: GStreamer with our decoder (ours) and
#                            with libavcodec's (peer), FFmpeg with VA-API (va)
# decode.sh rates TURNS TIMES SIDE...
#                            the same of each clip so many times on end, of FRAMES and of all: what lies
#                            between is a pipeline without its start
# decode.sh player TURNS     the clip of H.264 in mpv as it would be watched, with its software decoder
#                            (no) and by VA-API with pictures copied (vaapi-copy), which nobody draws; and
#                            both ways, now with the pictures imported (vaapi), in a small window that Vulkan
#                            draws in software (windowed); frames that it dropped
# decode.sh steady           system calls of a few frames and of FRAMES
# decode.sh long TIMES       each clip of even/ so many times on end: frame times in milliseconds; page
#                            faults so far and bytes of memory that is a process's alone, again and
#                            again
set -euo pipefail

: "${FRAMES:?}" "${KINORA_MEDIA:?}"
codecs=(mpeg2 h264 vp8 vp9)
# Frames after which a pipeline is in its steady state.
warm=100
log=/tmp/daemon.log

export folder=$KINORA_MEDIA
clip() { echo "$folder/$1".*; }

die() {
    echo "decode.sh: $*" >&2
    [[ ! -s $log ]] || tail -n 20 "$log" >&2
    exit 1
}

# start_daemon [COMMAND...]: starts it, below COMMAND; $daemon is the process. Returns once it serves.
start_daemon() {
    rm -f "$log"
    mkfifo "$log.pipe"
    "$@" >"$log.pipe" 2>&1 &
    daemon=$!
    exec 4<"$log.pipe"
    rm "$log.pipe"
    local line
    # The first line of its log says that it serves, or why it cannot.
    IFS= read -r line <&4 || die "the daemon ended"
    cat <&4 >"$log" &
    [[ $line == *decoding* ]] || die "the daemon says: $line"
}

stop_daemon() {
    kill "$daemon"
    wait "$daemon" || die "the daemon ended with status $?"
}

# play CODEC ours|peer|va FRAMES: a clip through a pipeline until so many frames have come out.
play() {
    local file parser element
    file=$(clip "$1")
    case $1 in
    mpeg2) parser=mpegvideoparse element=mpeg2 ;;
    h264) parser=h264parse element=h264 ;;
    vp8) parser=ivfparse element=vp8 ;;
    vp9) parser='ivfparse ! vp9parse' element=vp9 ;;
    esac
    case $2 in
    ours) element=v4l2sl${element}dec ;;
    peer)
        [[ $1 != mpeg2 ]] || element=mpeg2video
        element="avdec_$element max-threads=1"
        ;;
    va)
        # With surfaces as the output it does not go on in software.
        exec kinora-va ffmpeg -v error -init_hw_device vaapi=va:/dev/dri/renderD128 -hwaccel vaapi \
            -hwaccel_device va -hwaccel_output_format vaapi -i "$file" -frames:v "$3" -f null -
        ;;
    esac
    # shellcheck disable=SC2086 # the words of a pipeline
    exec gst-launch-1.0 -q filesrc location="$file" ! $parser ! $element ! \
        fakesink num-buffers="$3" sync=false
}

# Tells of the page faults and the private bytes of a running process; fails when it has ended.
tell_memory() { # NAME PROCESS
    local stat statm
    { read -ra stat <"/proc/$2/stat" && read -ra statm <"/proc/$2/statm"; } 2>/dev/null || return
    # Neither this shell's children nor what the daemon forks has a space in its name.
    echo "value $1 faults $((stat[9] + stat[11]))"
    echo "value $1 private $(((statm[1] - statm[2]) * 4096))"
}

# Sets $worker to the process of the daemon's only session; fails when there is none.
find_worker() {
    local all
    all=$(kinora-decoded --stats --json)
    worker=${all#*'"worker_pid": '}
    worker=${worker%%[!0-9]*}
    [[ $worker ]]
}

record() {
    local codec
    for codec in "${codecs[@]}"; do
        start_daemon kinora-decoded --once --record "/share/$codec.jobs"
        (play "$codec" ours "$FRAMES") || die "recording $codec: the pipeline failed"
        wait "$daemon" || die "recording $codec: status $?"
    done
}

pipelines() {
    local turn turns=$1 codec side
    shift
    start_daemon kinora-decoded
    for ((turn = 0; turn < turns; turn++)); do
        for codec in "${codecs[@]}"; do
            for side in "$@"; do
                echo "begin $codec $side"
                (play "$codec" "$side" "$FRAMES")
                echo "end $codec $side"
            done
        done
    done
    stop_daemon
}

# lengthen TIMES: from now on each clip is so many times on end.
lengthen() {
    local codec file list time
    list=$(mktemp)
    mkdir /tmp/longer
    for codec in "${codecs[@]}"; do
        file=$(clip "$codec")
        for ((time = 0; time < $1; time++)); do echo "file '$file'"; done >"$list"
        case $file in
        *.ivf) ffmpeg -nostdin -v error -f concat -safe 0 -i "$list" -c copy "/tmp/longer/${file##*/}" ;;
        *) sed 's/^file //' "$list" | xargs cat >"/tmp/longer/${file##*/}" ;;
        esac
    done
    folder=/tmp/longer
}

rates() {
    local turn turns=$1 times=$2 codec side frames
    shift 2
    lengthen "$times"
    start_daemon kinora-decoded
    for ((turn = 0; turn < turns; turn++)); do
        for codec in "${codecs[@]}"; do
            for side in "$@"; do
                for frames in "$FRAMES" $((FRAMES * times)); do
                    echo "begin $codec $side $frames"
                    (play "$codec" "$side" "$frames")
                    echo "end $codec $side $frames"
                done
            done
        done
    done
    stop_daemon
}

# Frames without a time are shown 25 times a second. What a window costs is mostly its size.
player() {
    local turn screen number
    local none=(--vo=null --vaapi-device=/dev/dri/renderD128)
    local windowed=(--vo=gpu-next --gpu-api=vulkan --gpu-context=x11vk --gpu-sw --profile=fast --geometry=320x180)
    start_daemon kinora-decoded
    # It says its number once it serves.
    exec 6< <(exec Xvfb -displayfd 1 2>/dev/null)
    screen=$!
    read -r number <&6 || die "Xvfb ended"
    export DISPLAY=:$number
    for ((turn = 0; turn < $1; turn++)); do
        watch no no "${none[@]}"
        watch vaapi-copy vaapi-copy "${none[@]}"
        watch "no windowed" no "${windowed[@]}"
        watch "vaapi windowed" vaapi "${windowed[@]}"
    done
    kill "$screen"
    stop_daemon
}

# watch NAME HWDEC ARGUMENTS...: the clip in mpv; tells how many frames it dropped.
watch() {
    local name=$1 how=$2 file
    shift 2
    file=$(clip h264)
    echo "begin mpv $name"
    # shellcheck disable=SC2016 # mpv's own words
    kinora-va mpv --no-config --no-audio --osc=no --osd-level=0 "--hwdec=$how" "$@" \
        --msg-level=all=error,vd=info,statusline=status \
        --term-status-msg='dropped ${frame-drop-count} ${decoder-frame-drop-count}' "$file" >/tmp/mpv.out 2>&1
    echo "end mpv $name"
    [[ $how == no ]] || grep -qF "Using hardware decoding ($how)" /tmp/mpv.out || die "mpv: software"
    tr '\r' '\n' </tmp/mpv.out | awk -v name="$name" '
        $1 ~ /dropped$/ { dropped = $2 + $3 } END { print "value mpv", name, "dropped", dropped }'
}

# calls NAME FILE: the sum of a summary by strace.
calls() { awk -v name="$1" '$1 == "total" { print "value", name, $2 }' "$2"; }

steady() {
    local codec frames
    for codec in "${codecs[@]}"; do
        for frames in $warm "$FRAMES"; do
            start_daemon strace -f -c -U name,calls -o /tmp/daemon.calls kinora-decoded --once
            # shellcheck disable=SC2016 # for the inner shell
            strace -f -c -U name,calls -o /tmp/client.calls \
                bash -c "$(declare -f clip play)"'; play "$@"' bash "$codec" ours "$frames"
            wait "$daemon" || die "the daemon under strace: status $?"
            calls "$codec $frames daemon calls" /tmp/daemon.calls
            calls "$codec $frames client calls" /tmp/client.calls
        done
    done
}

# Whatever runs beside takes time from frames, so this waits and looks without starting anything.
long() { # TIMES
    local codec run worker
    mkfifo /tmp/never
    exec 3<>/tmp/never
    for codec in "${codecs[@]}"; do
        start_daemon kinora-decoded
        # One frame at a time: with two under way the guest's one CPU now and then decodes the second
        # before it lets the client see that the first is done, whose time is then that of both.
        client --depth 1 --md5 no --loops "$1" "$(clip "even/$codec")" >/tmp/client.out &
        run=$!
        until find_worker; do
            kill -0 $run || die "$codec: no session"
            sleep 0.1
        done
        while true; do
            ! read -rt 1 -u 3 || die "a line from nowhere"
            tell_memory "$codec daemon" "$worker" || break
            tell_memory "$codec client" $run || break
        done
        wait $run || die "$codec: the client ended with status $?"
        awk -v RS=' ' -F= -v codec="$codec" '
            $1 == "frames" || $1 == "errors" { print "value", codec, $1, $2 }
            $1 == "median_us" { print "value", codec, "median", $2 / 1000 }
            $1 == "p99_us" { print "value", codec, "p99", $2 / 1000 }' /tmp/client.out
        stop_daemon
    done
}

# The module gives a job up after 900 ms, which a host that does other things may take the machine away
# for; what is measured here is how long jobs take.
kinora-load timeout=10000
"$@"
