from app.profiles.bundled import bundled_profiles, find_profile
from app.profiles.loading import load_profile
from app.profiles.profile import Profile
from app.profiles.resolved import profile_hash, spec_yaml
from app.profiles.secrets import resolve_secret

__all__ = ["Profile", "bundled_profiles", "find_profile", "load_profile", "profile_hash", "resolve_secret", "spec_yaml"]
