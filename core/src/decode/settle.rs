//! From counts as reported to buckets that never overlap.

use super::call::{Call, Tokens};

/// Makes the buckets of a format that counts cached, audio and image tokens inside the input, and reasoning inside the
/// output.
pub(crate) fn settle_inclusive(call: &mut Call) {
    let Tokens {
        input,
        output,
        total,
        cache_read,
        cache_write,
        reasoning,
        audio_in,
        audio_out,
        image_in,
        image_out,
        ..
    } = call.tokens;
    let zero = |count: Option<u64>| count.unwrap_or(0);
    let cached = zero(cache_read).saturating_add(zero(cache_write));
    // More cached than there was input cannot be inside of it.
    let exclusive = input.is_some_and(|input| cached > input);
    let inside =
        [audio_in, image_in].iter().copied().map(zero).fold(if exclusive { 0 } else { cached }, u64::saturating_add);
    let spoken = zero(audio_out).saturating_add(zero(image_out));
    // xAI counts reasoning beside the output; its total shows it.
    let beside = match (input, output, total, reasoning) {
        (Some(input), Some(output), Some(total), Some(reasoning)) => {
            let plain = input.saturating_add(output);
            reasoning > 0 && total != plain && total == plain.saturating_add(reasoning)
        }
        _ => false,
    };
    let within = if beside { spoken } else { spoken.saturating_add(zero(reasoning)) };
    let usage = &mut call.usage;
    usage.input_text = input.map(|input| input.saturating_sub(inside));
    usage.cache_read = cache_read;
    usage.cache_write_5m = cache_write;
    usage.audio_in = audio_in;
    usage.image_in = image_in;
    usage.output_text = output.map(|output| output.saturating_sub(within));
    usage.reasoning = reasoning;
    usage.audio_out = audio_out;
    usage.image_out = image_out;
    let wrong_total = match (input, output, total) {
        (Some(input), Some(output), Some(total)) => !beside && input.saturating_add(output) != total,
        _ => false,
    };
    call.cache_exclusive = exclusive;
    call.usage_inconsistent = exclusive
        || wrong_total
        || input.is_some_and(|input| inside > input)
        || output.is_some_and(|output| within > output);
}

/// Makes the buckets of a format that counts cached tokens beside the input.
pub(crate) fn settle_exclusive(call: &mut Call) {
    let Tokens {
        input, output, cache_read, cache_write, cache_write_5m, cache_write_1h, reasoning, web_searches, ..
    } = call.tokens;
    let within = reasoning.unwrap_or(0);
    let split = cache_write_5m.zip(cache_write_1h);
    let usage = &mut call.usage;
    usage.input_text = input;
    usage.cache_read = cache_read;
    (usage.cache_write_5m, usage.cache_write_1h) = match split {
        Some((short, long)) => (Some(short), Some(long)),
        None => (cache_write, None),
    };
    usage.output_text = output.map(|output| output.saturating_sub(within));
    usage.reasoning = reasoning;
    usage.web_searches = web_searches;
    call.cache_exclusive = true;
    let wrong_split = split.zip(cache_write).is_some_and(|((short, long), all)| short.saturating_add(long) != all);
    call.usage_inconsistent = wrong_split || output.is_some_and(|output| within > output);
}
