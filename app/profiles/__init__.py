from app.profiles.bundled import bundled_profiles, find_profile
from app.profiles.loading import load_profile
from app.profiles.profile import Profile
from app.profiles.resolved import compute_profile_hash, format_spec
from app.profiles.secrets import resolve_secret

__all__ = [
    "Profile",
    "bundled_profiles",
    "compute_profile_hash",
    "find_profile",
    "format_spec",
    "load_profile",
    "resolve_secret",
]
