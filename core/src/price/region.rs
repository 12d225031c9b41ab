//! The region that served a call: in the host of those clouds whose prices differ by it.

/// The region of an address (`https://bedrock-runtime.us-east-1.amazonaws.com/...`, or its host alone); `None` where
/// addresses do not tell.
pub fn region_of(url: &str) -> Option<&str> {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?', ':']).next().unwrap_or_default();
    if let Some(front) = host.strip_suffix(".googleapis.com") {
        // aiplatform, us-central1-aiplatform, aiplatform.us.rep
        return match front {
            "aiplatform" => Some("global"),
            _ => front
                .strip_suffix("-aiplatform")
                .or_else(|| front.strip_prefix("aiplatform.")?.strip_suffix(".rep"))
                .filter(|region| !region.is_empty()),
        };
    }
    if ![".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|zone| host.ends_with(zone)) {
        return None;
    }
    let mut labels = host.split('.');
    labels.find(|label| matches!(*label, "bedrock-runtime" | "bedrock-runtime-fips" | "bedrock-mantle"))?;
    labels.next().filter(|region| region.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::region_of;

    #[test]
    fn the_clouds_name_it_in_the_host() {
        for (url, region) in [
            ("https://bedrock-runtime.us-east-1.amazonaws.com/model/x/converse", Some("us-east-1")),
            ("https://vpce-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com", Some("eu-central-1")),
            ("https://bedrock-mantle.us-west-2.api.aws/v1", Some("us-west-2")),
            ("https://us-central1-aiplatform.googleapis.com/v1", Some("us-central1")),
            ("https://aiplatform.googleapis.com:443/v1", Some("global")),
            ("https://aiplatform.eu.rep.googleapis.com", Some("eu")),
            ("https://generativelanguage.googleapis.com", None),
            ("https://api.openai.com/v1", None),
            ("https://s3.us-east-1.amazonaws.com", None),
            ("http://127.0.0.1:8080/v1", None),
            ("", None),
        ] {
            assert_eq!(region_of(url), region, "{url}");
        }
    }
}
