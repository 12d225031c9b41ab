//! What the formats of Bedrock have in common: names of models, and errors.

use serde_json::Value;

use super::Source;
use super::call::{Call, CallError};
use super::framing::EXCEPTION;
use super::json::text;

/// The model that an ARN names at its end; other ARNs are names of their own.
pub(super) fn model_of_arn(arn: &str) -> Option<&str> {
    let resource = arn.strip_prefix("arn:")?.splitn(5, ':').nth(4)?;
    let id = resource.strip_prefix("foundation-model/").or_else(|| resource.strip_prefix("inference-profile/"))?;
    id.rsplit('/').next().filter(|name| !name.is_empty())
}

/// Names the model of a request that was made by ARN.
pub(super) fn name_model(call: &mut Call) {
    call.model = call.model_requested.as_deref().and_then(model_of_arn).map(str::to_owned);
}

/// The error of a body in the way of AWS: `{"__type": "namespace#Type", "message"}`, the message also with a capital.
/// Its type is mostly in a header, which is read for every format.
pub(super) fn error(_: &Source<'_>, body: &Value) -> Option<CallError> {
    let kind = text(body.get("__type")).map(|kind| kind.rsplit('#').next().unwrap_or(&kind).to_owned());
    let capital = text(body.get("Message"));
    if kind.is_none() && capital.is_none() {
        return None;
    }
    let message = text(body.get("message")).or(capital).unwrap_or_else(|| body.to_string());
    Some(CallError { kind, message })
}

/// The error that a message of an event stream tells of.
pub(super) fn exception(name: &str, data: &Value) -> Option<CallError> {
    let kind = name.strip_prefix(EXCEPTION)?;
    let message = text(data.get("message")).or_else(|| text(data.get("Message")));
    Some(CallError::new(kind, message.unwrap_or_else(|| kind.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_arns_name_a_model() {
        for (arn, model) in [
            ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", Some("amazon.nova-lite-v1:0")),
            ("arn:aws-cn:bedrock:cn-north-1:1:inference-profile/cn.a.b-v1:0", Some("cn.a.b-v1:0")),
            ("arn:aws:bedrock:us-west-2:1:application-inference-profile/r5t6", None),
            ("arn:aws:bedrock:us-west-2:1:imported-model/x", None),
            ("amazon.nova-lite-v1:0", None),
            ("arn:aws:bedrock", None),
        ] {
            assert_eq!(model_of_arn(arn), model, "{arn}");
        }
    }
}
