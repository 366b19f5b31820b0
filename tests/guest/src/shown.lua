-- For mpv that starts paused: takes pictures of what its window shows, one for each frame, and ends.
-- Of `--script-opts`, `folder` is where they go, `count` how many they are.
local folder, count = mp.get_opt('folder'), tonumber(mp.get_opt('count'))
local taken = 0

local function look()
    -- A step ends the pause until its frame is shown.
    if taken == count or not mp.get_property_bool('pause') then return end
    taken = taken + 1
    mp.commandv('screenshot-to-file', string.format('%s/%03d.png', folder, taken), 'window')
    mp.command(taken == count and 'quit' or 'frame-step')
end

local function begin()
    mp.unregister_event(begin)
    mp.add_periodic_timer(0.02, look)
end
mp.register_event('playback-restart', begin)
