//! Which board each machine under `fixtures/` is taken for, by which evidence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use boards::{How, Table, detect};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// (machine, DEVICE_TYPE, architecture, board, evidence)
const ROWS: &[(&str, Option<&str>, &str, &str, How)] = &[
    // The device tree alone.
    ("pi2", None, "arm", "pi2", How::DeviceTree),
    ("pi3", None, "aarch64", "pi3", How::DeviceTree),
    ("pi3-zero2", None, "aarch64", "pi3", How::DeviceTree),
    ("pi4-64", None, "aarch64", "pi4-64", How::DeviceTree),
    ("pi4-64", None, "arm", "pi4-64", How::DeviceTree),
    ("pi4-400", None, "aarch64", "pi4-64", How::DeviceTree),
    ("pi4-module", None, "aarch64", "pi4-64", How::DeviceTree),
    ("pi5", None, "aarch64", "pi5", How::DeviceTree),
    ("rockpi4", None, "aarch64", "rockpi4", How::DeviceTree),
    ("rockpi4-4a", None, "aarch64", "rockpi4", How::DeviceTree),
    ("rockpi4-4c", None, "aarch64", "rockpi4", How::DeviceTree),
    (
        "rockpi4-4c-plus",
        None,
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    (
        "rockpi4-vendor",
        None,
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    ("no-nul", None, "aarch64", "pi5", How::DeviceTree),
    ("proc-unusable", None, "aarch64", "pi4-64", How::DeviceTree),
    (
        "non-utf8-rockpi4",
        None,
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    // No board of the table in it: the architecture.
    ("rock4d", None, "aarch64", "arm64", How::Architecture),
    ("orange-pi", None, "aarch64", "arm64", How::Architecture),
    ("arm64", None, "aarch64", "arm64", How::Architecture),
    ("second-string", None, "aarch64", "arm64", How::Architecture),
    ("missing", None, "aarch64", "arm64", How::Architecture),
    ("missing", None, "arm", "arm64", How::Architecture),
    ("empty", None, "aarch64", "arm64", How::Architecture),
    ("non-utf8", None, "aarch64", "arm64", How::Architecture),
    (
        "model-is-folder",
        None,
        "aarch64",
        "arm64",
        How::Architecture,
    ),
    ("x86", None, "x86_64", "x86", How::Architecture),
    ("x86", None, "x86", "x86", How::Architecture),
    // Nothing at all: the conservative row.
    ("missing", None, "riscv64", "arm64", How::Fallback),
    ("missing", None, "", "arm64", How::Fallback),
    (
        "no-such-folder",
        None,
        "loongarch64",
        "arm64",
        How::Fallback,
    ),
    (
        "orange-pi",
        Some("toaster"),
        "riscv64",
        "arm64",
        How::Fallback,
    ),
    // The label, in whatever spelling.
    ("missing", Some("pi2"), "arm", "pi2", How::Label),
    ("missing", Some("PI3-64"), "aarch64", "pi3", How::Label),
    (
        "missing",
        Some("  Pi4-64\n"),
        "aarch64",
        "pi4-64",
        How::Label,
    ),
    ("missing", Some("pi4"), "aarch64", "pi4-64", How::Label),
    ("missing", Some("\tPI5 "), "aarch64", "pi5", How::Label),
    ("missing", Some("RockPi4"), "aarch64", "rockpi4", How::Label),
    ("missing", Some("x86"), "x86_64", "x86", How::Label),
    ("missing", Some("amd64"), "x86_64", "x86", How::Label),
    (
        "missing",
        Some("generic-arm64"),
        "aarch64",
        "arm64",
        How::Label,
    ),
    (
        "missing",
        Some(" Generic-ARM64 "),
        "aarch64",
        "arm64",
        How::Label,
    ),
    // A label that names a board is believed over the device tree.
    ("pi5", Some("pi4-64"), "aarch64", "pi4-64", How::Label),
    ("rockpi4", Some("x86"), "x86_64", "x86", How::Label),
    // One that says little is refined by it.
    (
        "rockpi4",
        Some("arm64"),
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    (
        "rockpi4-4a",
        Some("generic-arm64"),
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    (
        "rockpi4-4c",
        Some(" ARM64 "),
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    (
        "rockpi4-4c-plus",
        Some("generic-arm64"),
        "aarch64",
        "rockpi4",
        How::DeviceTree,
    ),
    ("pi5", Some("arm64"), "aarch64", "pi5", How::DeviceTree),
    ("orange-pi", Some("arm64"), "aarch64", "arm64", How::Label),
    ("non-utf8", Some("arm64"), "aarch64", "arm64", How::Label),
    // An unknown or empty label is as good as none.
    ("pi3", Some("toaster"), "aarch64", "pi3", How::DeviceTree),
    ("pi3", Some(""), "aarch64", "pi3", How::DeviceTree),
    ("missing", Some("   "), "x86_64", "x86", How::Architecture),
];

#[test]
fn every_machine_gets_its_board() {
    let table = Table::builtin();
    for (machine, label, architecture, board, how) in ROWS {
        let found = detect(&fixtures().join(machine), *label, architecture, &table);
        assert_eq!(
            (found.board_id.as_str(), found.how),
            (*board, *how),
            "{machine}, label {label:?}, {architecture}"
        );
    }
}

#[test]
fn every_fixture_and_every_board_is_in_a_row() {
    let folders: BTreeSet<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let machines: BTreeSet<String> = ROWS.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(
        folders.difference(&machines).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );

    for board in Table::builtin().boards() {
        assert!(
            ROWS.iter().any(|row| row.3 == board.id),
            "no row finds {}",
            board.id
        );
        assert!(folders.contains(&board.id), "no fixture for {}", board.id);
    }
}

#[test]
fn the_model_is_told_as_it_was_read() {
    let rows = [
        ("pi5", Some("Raspberry Pi 5 Model B Rev 1.0")),
        ("second-string", Some("Khadas VIM3")),
        ("empty", None),
        ("missing", None),
        ("model-is-folder", None),
        (
            "non-utf8-rockpi4",
            Some("\u{fffd}Radxa \u{fffd}ROCK Pi 4B\u{fffd}"),
        ),
    ];
    for (machine, model) in rows {
        let found = detect(
            &fixtures().join(machine),
            Some("pi2"),
            "arm",
            &Table::builtin(),
        );
        assert_eq!(found.model.as_deref(), model, "{machine}");
    }
}

#[test]
fn a_users_board_is_detected_like_the_others() {
    let table = Table::builtin()
        .with_overrides(
            r#"
            [[board]]
            id = "orange5"
            name = "Orange Pi 5"
            device_tree = ["Orange Pi 5"]
            decodes = [{ codec = "h264", size = "1920x1080", fps = 60, hwdec = "drm-copy" }]
            target = { codec = "h264", size = "1920x1080", fps = 60 }
            output = { vo = "gpu" }

            [[board]]
            id = "pi5-8gb"
            name = "Raspberry Pi 5 as we buy it"
            device_tree = ["Raspberry Pi 5"]
            architectures = ["riscv64"]
            decodes = [{ codec = "h264", size = "1920x1080", fps = 60 }]
            target = { codec = "h264", size = "1920x1080", fps = 60 }
            output = { vo = "gpu" }
            "#,
        )
        .unwrap();
    for (machine, architecture, board) in [
        ("orange-pi", "aarch64", "orange5"),
        // Among equal matches the user's wins.
        ("pi5", "aarch64", "pi5-8gb"),
        ("missing", "riscv64", "pi5-8gb"),
    ] {
        assert_eq!(
            detect(&fixtures().join(machine), None, architecture, &table).board_id,
            board
        );
    }
}
