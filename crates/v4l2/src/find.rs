//! Which decoders this machine has.
//!
//! A decoder is found by what it is in the media topology, never by its driver's name or by a
//! number below `/dev`: boards have several, and their numbers change from boot to boot. All paths
//! are below a root, so that a test can give a machine of its own.

use crate::error::Error;
use crate::media::{MediaDevice, Topology};
use crate::sys::Kernel;
use crate::uapi::media::*;
use rustix::fs::{FileType, Stat, major, minor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A decoder's two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderNode {
    /// The media device, which makes requests.
    pub media: PathBuf,
    /// The video node, which has the queues.
    pub video: PathBuf,
    /// The driver's name.
    pub driver: String,
    /// The device's model.
    pub model: String,
}

/// All decoders below `root`, in the order of their media devices.
///
/// Media devices that cannot be opened or read are passed over: one that belongs to somebody else,
/// or that has just gone, does not hide the others.
pub fn decoders(kernel: &Arc<dyn Kernel>, root: &Path) -> Vec<DecoderNode> {
    let mut nodes = nodes(root, "media");
    nodes.sort_by_key(|path| number(path));
    nodes
        .iter()
        .filter_map(|media| decoders_of(kernel, root, media).ok())
        .flatten()
        .collect()
}

/// The decoders of one media device.
///
/// # Errors
/// The device cannot be opened or read.
pub fn decoders_of(
    kernel: &Arc<dyn Kernel>,
    root: &Path,
    media: &Path,
) -> Result<Vec<DecoderNode>, Error> {
    let device = MediaDevice::open(Arc::clone(kernel), media)?;
    let info = device.info()?;
    let found = decoder_devices(&device.topology()?)
        .into_iter()
        .filter_map(|device| node_of(root, device))
        .map(|video| DecoderNode {
            media: media.into(),
            video,
            driver: text(&info.driver),
            model: text(&info.model),
        });
    Ok(found.collect())
}

/// The numbers of the video nodes through which a topology's decoders are used.
///
/// A memory-to-memory decoder is three entities: data come in by one and go out by another, both of
/// which the video node's interface controls; the decoder stands between them.
pub fn decoder_devices(topology: &Topology) -> Vec<(u32, u32)> {
    let is_decoder = |function| function == MEDIA_ENT_F_PROC_VIDEO_DECODER;
    let decoders = topology
        .entities
        .iter()
        .filter(|entity| is_decoder(entity.function));
    let mut devices: Vec<(u32, u32)> = decoders
        .flat_map(|decoder| {
            let reached = neighbours(topology, decoder.id);
            interfaces(topology, &reached)
        })
        .collect();
    devices.dedup();
    devices
}

/// An entity and all that share a data link with it.
fn neighbours(topology: &Topology, entity: u32) -> Vec<u32> {
    let owner = |pad| {
        let found = topology.pads.iter().find(|one| one.id == pad);
        found.map(|pad| pad.entity_id)
    };
    let mut reached = vec![entity];
    for link in &topology.links {
        if link.flags & MEDIA_LNK_FL_LINK_TYPE == MEDIA_LNK_FL_DATA_LINK {
            match (owner(link.source_id), owner(link.sink_id)) {
                (Some(from), Some(to)) if from == entity => reached.push(to),
                (Some(from), Some(to)) if to == entity => reached.push(from),
                _ => {}
            }
        }
    }
    reached
}

/// The video nodes whose interface controls one of the entities.
fn interfaces(topology: &Topology, entities: &[u32]) -> Vec<(u32, u32)> {
    let controls = |interface: &media_v2_interface| {
        topology.links.iter().any(|link| {
            link.flags & MEDIA_LNK_FL_LINK_TYPE == MEDIA_LNK_FL_INTERFACE_LINK
                && link.source_id == interface.id
                && entities.contains(&link.sink_id)
        })
    };
    topology
        .interfaces
        .iter()
        .filter(|interface| interface.intf_type == MEDIA_INTF_T_V4L_VIDEO && controls(interface))
        .map(|interface| (interface.raw[0], interface.raw[1]))
        .collect()
}

/// The node of a device number: as sysfs names it, or, where a sandbox hides sysfs, the one below
/// `/dev` that has it.
fn node_of(root: &Path, (major, minor): (u32, u32)) -> Option<PathBuf> {
    let uevent = root.join(format!("sys/dev/char/{major}:{minor}/uevent"));
    let named = std::fs::read_to_string(uevent).ok().and_then(|text| {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("DEVNAME="))?;
        Some(root.join("dev").join(name))
    });
    let named = named.filter(|path| path.exists());
    named.or_else(|| {
        let nodes = nodes(root, "video");
        nodes
            .into_iter()
            .find(|path| device_number(path) == Some((major, minor)))
    })
}

fn device_number(path: &Path) -> Option<(u32, u32)> {
    let stat: Stat = rustix::fs::stat(path).ok()?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    is_device.then(|| (major(stat.st_rdev), minor(stat.st_rdev)))
}

/// The nodes below `/dev` that are called `prefix` and a number.
fn nodes(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("dev")).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| {
            let number = name.strip_prefix(prefix).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
        .map(|name| root.join("dev").join(name))
        .collect()
}

fn number(path: &Path) -> u32 {
    let name = path.to_string_lossy();
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[digits..].parse().unwrap_or(u32::MAX)
}

/// The text of a fixed array, up to its first zero byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn entity(id: u32, function: u32) -> media_v2_entity {
        media_v2_entity {
            id,
            function,
            ..media_v2_entity::new_zeroed()
        }
    }

    fn pad(id: u32, entity_id: u32) -> media_v2_pad {
        media_v2_pad {
            id,
            entity_id,
            ..media_v2_pad::new_zeroed()
        }
    }

    fn link(source_id: u32, sink_id: u32, flags: u32) -> media_v2_link {
        media_v2_link {
            source_id,
            sink_id,
            flags,
            ..media_v2_link::new_zeroed()
        }
    }

    fn interface(id: u32, intf_type: u32, minor: u32) -> media_v2_interface {
        let mut interface = media_v2_interface::new_zeroed();
        (interface.id, interface.intf_type) = (id, intf_type);
        (interface.raw[0], interface.raw[1]) = (81, minor);
        interface
    }

    /// A memory-to-memory device: source, block and sink, and the node that controls the outer two.
    fn device(base: u32, function: u32, minor: u32) -> Topology {
        let io = MEDIA_ENT_F_IO_V4L;
        let enabled = 1;
        let controls = MEDIA_LNK_FL_INTERFACE_LINK | enabled;
        Topology {
            entities: vec![
                entity(base + 1, io),
                entity(base + 2, function),
                entity(base + 3, io),
            ],
            interfaces: vec![interface(base + 4, MEDIA_INTF_T_V4L_VIDEO, minor)],
            pads: vec![
                pad(base + 5, base + 1),
                pad(base + 6, base + 2),
                pad(base + 7, base + 2),
                pad(base + 8, base + 3),
            ],
            links: vec![
                link(base + 5, base + 6, enabled),
                link(base + 7, base + 8, enabled),
                link(base + 4, base + 1, controls),
                link(base + 4, base + 3, controls),
            ],
        }
    }

    fn both(mut one: Topology, other: Topology) -> Topology {
        one.entities.extend(other.entities);
        one.interfaces.extend(other.interfaces);
        one.pads.extend(other.pads);
        one.links.extend(other.links);
        one
    }

    #[test]
    fn decoders_are_found_by_what_they_are() {
        let (decoder, encoder) = (
            MEDIA_ENT_F_PROC_VIDEO_DECODER,
            MEDIA_ENT_F_PROC_VIDEO_ENCODER,
        );
        let rows = [
            (Topology::default(), vec![]),
            (device(0, decoder, 3), vec![(81, 3)]),
            (device(0, encoder, 3), vec![]),
            (
                both(device(0, encoder, 1), device(100, decoder, 2)),
                vec![(81, 2)],
            ),
            (
                both(device(0, decoder, 1), device(100, decoder, 2)),
                vec![(81, 1), (81, 2)],
            ),
        ];
        for (topology, expected) in rows {
            assert_eq!(decoder_devices(&topology), expected);
        }
    }

    #[test]
    fn nodes_are_named_by_prefix_and_number() {
        let root = std::env::temp_dir().join(format!("v4l2-find-{}", std::process::id()));
        std::fs::create_dir_all(root.join("dev")).unwrap();
        std::fs::create_dir_all(root.join("sys/dev/char/81:3")).unwrap();
        for name in ["media0", "media10", "media2", "mediactl", "media", "video7"] {
            std::fs::write(root.join("dev").join(name), "").unwrap();
        }
        let uevent = "MAJOR=81\nMINOR=3\nDEVNAME=video7\n";
        std::fs::write(root.join("sys/dev/char/81:3/uevent"), uevent).unwrap();
        let mut found = nodes(&root, "media");
        found.sort_by_key(|path| number(path));
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["media0", "media2", "media10"]);
        assert_eq!(node_of(&root, (81, 3)), Some(root.join("dev/video7")));
        assert_eq!(node_of(&root, (81, 4)), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
