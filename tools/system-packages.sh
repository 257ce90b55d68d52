#!/usr/bin/env bash
# The Debian and Ubuntu packages that some tests need: installed where that is possible, named where it is not.
# A test whose package is missing is skipped and says so; nothing here fails a run.
set -u

declare -A NEEDED=(
    [chromium]="browser tests"
    [postgresql]="studies on PostgreSQL"
    [fluid-soundfont-gm]="rendering the composed corpus"
)

present() {
    case "$1" in
        chromium) command -v chromium || command -v chromium-browser ;;
        postgresql) ls /usr/lib/postgresql/*/bin/initdb ;;
        fluid-soundfont-gm) ls "${MUSICGEN_SOUNDFONT:-/usr/share/sounds/sf2/FluidR3_GM.sf2}" ;;
    esac >/dev/null 2>&1
}

missing=()
for package in "${!NEEDED[@]}"; do present "$package" || missing+=("$package"); done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing ${missing[*]} for the tests."
    export DEBIAN_FRONTEND=noninteractive
    timeout 120 apt-get update -qq >/dev/null 2>&1
    timeout 600 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1
fi
for package in "${missing[@]}"; do
    present "$package" || echo "Not installed: $package (${NEEDED[$package]}): those tests will be skipped. apt install $package"
done
exit 0
