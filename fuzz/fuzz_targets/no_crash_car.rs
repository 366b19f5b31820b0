//! Any bytes as a CAR file; what is read of it and written again is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{
    car::{CarReader, CarWriter},
    dag::widen,
};

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = CarReader::new(data) else {
        return;
    };
    let mut writer = CarWriter::new(Vec::new(), reader.roots()).expect("memory takes it");
    let mut blocks = Vec::new();
    for block in reader.by_ref() {
        let Ok(block) = block else { break };
        assert!(block.offset < data.len() as u64);
        writer.block(&widen(&block.cid), &block.bytes).expect("memory takes it");
        blocks.push((block.cid, block.bytes));
    }
    assert!(reader.offset() <= data.len() as u64);
    assert!(reader.next().is_none());
    let written = writer.finish().expect("memory takes it");
    let again = CarReader::new(written.as_slice()).expect("what was written is read");
    assert_eq!(again.roots(), reader.roots());
    let read: Vec<_> = again
        .map(|block| block.map(|block| (block.cid, block.bytes)))
        .collect::<Result<_, _>>()
        .expect("what was written is read");
    assert_eq!(read, blocks);
});
