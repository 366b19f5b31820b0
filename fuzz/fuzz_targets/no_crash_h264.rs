//! Any bytes as an H.264 byte stream: parameter sets, slice headers, reference marking.
#![no_main]

use bitstream::annexb::nal_units;
use bitstream::h264::{self, Dpb, NalHeader, NalType, PicParameterSet, SeqParameterSet};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

fuzz_target!(|data: &[u8]| {
    let mut sps: HashMap<u8, SeqParameterSet> = HashMap::new();
    let mut pps: HashMap<u8, PicParameterSet> = HashMap::new();
    let mut dpb = Dpb::new();
    let none = |id| h264::Error::NoParameterSet { set: "SPS", id };
    for (nth, nal) in nal_units(data).enumerate() {
        let Ok(header) = NalHeader::parse(nal) else {
            continue;
        };
        match header.kind() {
            NalType::Sps => {
                if let Ok(set) = h264::parse_sps(nal) {
                    sps.insert(set.sps.seq_parameter_set_id, set);
                }
            }
            NalType::Pps => {
                let chroma_format =
                    |id| Ok(sps.get(&id).ok_or_else(|| none(id))?.sps.chroma_format_idc);
                if let Ok(set) = h264::parse_pps(nal, chroma_format) {
                    pps.insert(set.pps.pic_parameter_set_id, set);
                }
            }
            _ => {
                let Some(pps) = h264::slice_pps_id(nal).ok().and_then(|id| pps.get(&id)) else {
                    continue;
                };
                let Some(sps) = sps.get(&pps.pps.seq_parameter_set_id) else {
                    continue;
                };
                if let Ok(slice) = h264::parse_slice_header(nal, &sps.sps, &pps.pps) {
                    let _ = dpb.decode(nth as u64 + 1, &sps.sps, &slice);
                }
            }
        }
    }
});
