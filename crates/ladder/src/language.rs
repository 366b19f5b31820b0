//! What tracks of sound and subtitles are called: languages by BCP 47, and names that tell the tracks
//! of a group apart.
//!
//! Containers hold ISO 639-2 codes of three letters; BCP 47 (RFC 5646 2.2.1) wants the two letters of
//! ISO 639-1 where a language has them.

use media::Stream;

use crate::playlist::Label;

/// Two letters, then the three-letter codes of the same language: by its own name, and, where that is
/// another one, by its English name.
const LANGUAGES: &str = "\
    aa aar|ab abk|af afr|ak aka|am amh|an arg|ar ara|as asm|av ava|ay aym|az aze|ba bak|\
    be bel|bg bul|bi bis|bm bam|bn ben|bo bod tib|br bre|bs bos|ca cat|ce che|ch cha|\
    co cos|cr cre|cs ces cze|cu chu|cv chv|cy cym wel|da dan|de deu ger|dv div|dz dzo|\
    ee ewe|el ell gre|en eng|eo epo|es spa|et est|eu eus baq|fa fas per|ff ful|fi fin|\
    fj fij|fo fao|fr fra fre|fy fry|ga gle|gd gla|gl glg|gn grn|gu guj|gv glv|ha hau|\
    he heb|hi hin|ho hmo|hr hrv|ht hat|hu hun|hy hye arm|hz her|ia ina|id ind|ie ile|\
    ig ibo|ii iii|ik ipk|io ido|is isl ice|it ita|iu iku|ja jpn|jv jav|ka kat geo|kg kon|\
    ki kik|kj kua|kk kaz|kl kal|km khm|kn kan|ko kor|kr kau|ks kas|ku kur|kv kom|kw cor|\
    ky kir|la lat|lb ltz|lg lug|li lim|ln lin|lo lao|lt lit|lu lub|lv lav|mg mlg|mh mah|\
    mi mri mao|mk mkd mac|ml mal|mn mon|mr mar|ms msa may|mt mlt|my mya bur|na nau|\
    nb nob|nd nde|ne nep|ng ndo|nl nld dut|nn nno|no nor|nr nbl|nv nav|ny nya|oc oci|\
    oj oji|om orm|or ori|os oss|pa pan|pi pli|pl pol|ps pus|pt por|qu que|rm roh|rn run|\
    ro ron rum|ru rus|rw kin|sa san|sc srd|sd snd|se sme|sg sag|si sin|sk slk slo|sl slv|\
    sm smo|sn sna|so som|sq sqi alb|sr srp|ss ssw|st sot|su sun|sv swe|sw swa|ta tam|\
    te tel|tg tgk|th tha|ti tir|tk tuk|tl tgl|tn tsn|to ton|tr tur|ts tso|tt tat|tw twi|\
    ty tah|ug uig|uk ukr|ur urd|uz uzb|ve ven|vi vie|vo vol|wa wln|wo wol|xh xho|yi yid|\
    yo yor|za zha|zh zho chi|zu zul";

/// The BCP 47 tag for a container's language code. `None` for what is none.
pub fn tag(code: &str) -> Option<String> {
    let code = code.to_ascii_lowercase();
    // Some containers hold whole tags already.
    let primary = code.split(['-', '_']).next().unwrap_or_default();
    let plain = (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_lowercase());
    if !plain || ["und", "mis", "mul", "zxx"].contains(&primary) {
        return None;
    }
    let row = LANGUAGES
        .split('|')
        .find(|row| row.split(' ').skip(1).any(|three| three == primary));
    let short = row.and_then(|row| row.split(' ').next()).unwrap_or(primary);
    let rest: String = code[primary.len()..].replace('_', "-");
    let sound = rest.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric());
    Some(if sound {
        format!("{short}{rest}")
    } else {
        short.to_string()
    })
}

/// Labels of the tracks of a group. The one that the container marks as default is it, else the first.
pub fn labels(streams: &[&Stream]) -> Vec<Label> {
    let default = streams.iter().position(|stream| stream.default);
    let mut labels: Vec<Label> = Vec::new();
    for (number, stream) in streams.iter().enumerate() {
        let language = stream.language.as_deref().and_then(tag);
        let plain = stream.title.clone().or_else(|| language.clone());
        let plain = plain.unwrap_or_else(|| format!("{}", number + 1));
        let taken = |name: &str| labels.iter().any(|label| label.name == name);
        let numbered = (2..).map(|n| format!("{plain} {n}"));
        let name = std::iter::once(plain.clone())
            .chain(numbered)
            .find(|name| !taken(name));
        labels.push(Label {
            name: name.unwrap_or(plain),
            language,
            default: number == default.unwrap_or(0),
            forced: false,
        });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (code, expected) in [
            ("eng", Some("en")),
            ("ger", Some("de")),
            ("deu", Some("de")),
            ("en", Some("en")),
            ("pt_BR", Some("pt-br")),
            ("gsw", Some("gsw")),
            ("und", None),
            ("", None),
            ("e\"", None),
            ("english!", None),
        ] {
            assert_eq!(tag(code).as_deref(), expected, "{code}");
        }
        let rows = LANGUAGES.split('|');
        assert!(rows.clone().count() > 180);
        assert!(
            rows.clone()
                .all(|row| row.split(' ').next().is_some_and(|two| two.len() == 2))
        );
    }
}
