//! What a model's name says of its generation: generations differ in how thinking is asked for and in
//! what a tool's result may hold.

/// A Gemini model's generation, as far as its name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// Such as (2, 5); `None` for tuned models and names of one's own.
    version: Option<(u32, u32)>,
    is_pro: bool,
}

impl Generation {
    /// Reads `gemini-2.5-flash`, also below a path. `gemini-flash-latest` is the newest.
    pub fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let version = name.strip_prefix("gemini-").and_then(|rest| {
            if rest.ends_with("-latest") && !rest.starts_with(|it: char| it.is_ascii_digit()) {
                return Some((u32::MAX, 0));
            }
            let number = rest.split('-').next()?;
            let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        Self {
            version,
            is_pro: name.contains("-pro"),
        }
    }

    /// Thinking is asked for by level (`thinkingLevel`): from Gemini 3.
    pub fn has_levels(self) -> bool {
        self.version.is_some_and(|version| version >= (3, 0))
    }

    /// It can think at all: from 2.5. A name that says nothing is taken at its request's word.
    pub fn can_think(self) -> bool {
        self.version.is_none_or(|version| version >= (2, 5))
    }

    /// Calls in the history must carry their signature: from Gemini 3.
    pub fn demands_signatures(self) -> bool {
        self.version.is_none_or(|version| version >= (3, 0))
    }

    /// A tool's result may hold images (`functionResponse.parts`): from Gemini 3.
    pub fn takes_media_in_results(self) -> bool {
        self.has_levels()
    }

    /// The Gemini API fetches files from the web for it: later than 2.0.
    pub fn fetches_urls(self) -> bool {
        self.version.is_none_or(|version| version >= (2, 5))
    }

    /// Thinking cannot be turned off: the Pro models.
    pub const fn always_thinks(self) -> bool {
        self.is_pro
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_generation() {
        let flash = Generation::of("gemini-2.5-flash-lite-001");
        assert!(flash.can_think() && !flash.has_levels() && !flash.always_thinks());
        assert!(!Generation::of("gemini-2.0-flash").can_think());
        assert!(!Generation::of("models/gemini-2.0-flash").fetches_urls());
        assert!(Generation::of("gemini-3-pro-preview").has_levels());
        assert!(Generation::of("gemini-3.1-pro").always_thinks());
        assert!(Generation::of("gemini-flash-latest").has_levels());
        let tuned = Generation::of("tunedModels/mine");
        assert!(tuned.can_think() && !tuned.has_levels() && tuned.demands_signatures());
    }
}
