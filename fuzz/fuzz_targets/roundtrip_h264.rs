//! H.264 parameter sets that can be read are written and read as the same.
#![no_main]

use bitstream::annexb::nal_units;
use bitstream::h264;
use libfuzzer_sys::fuzz_target;

fn only_nal(bytes: &[u8]) -> &[u8] {
    let mut nals = nal_units(bytes);
    let nal = nals.next().expect("a NAL unit was written");
    assert!(nals.next().is_none(), "one NAL unit was written");
    nal
}

fuzz_target!(|data: &[u8]| {
    let mut active = None;
    for nal in nal_units(data) {
        if let Ok(set) = h264::parse_sps(nal) {
            let mut written = Vec::new();
            if h264::write_sps(&mut written, &set.sps).is_ok() {
                let again = h264::parse_sps(only_nal(&written)).expect("a written SPS is read");
                assert_eq!(again.sps, set.sps);
            }
            active = Some(set);
        }
        let Some(sps) = &active else {
            continue;
        };
        let Ok(set) = h264::parse_pps(nal, |_| Ok(sps.sps.chroma_format_idc)) else {
            continue;
        };
        let (pps, matrix) = set.controls(sps);
        let mut written = Vec::new();
        if h264::write_pps(&mut written, &sps.sps, &pps, &matrix).is_ok() {
            let again = h264::parse_pps(only_nal(&written), |_| Ok(sps.sps.chroma_format_idc))
                .expect("a written PPS is read");
            let plain = h264::SeqParameterSet {
                scaling: None,
                ..sps.clone()
            };
            let (again, again_matrix) = again.controls(&plain);
            assert_eq!(again, pps);
            if pps.scaling_matrix_present {
                assert_eq!(again_matrix.scaling_list_4x4, matrix.scaling_list_4x4);
            }
        }
    }
});
