#!/usr/bin/env bash
# The Debian and Ubuntu packages that some tests need: installed where that is possible, named where it is not.
# A test whose package is missing is skipped and says so; nothing here fails a run, and the next run tries again.
set -u

declare -A NEEDED=(
    [chromium]="browser tests"
    [postgresql]="studies on PostgreSQL"
    [fluid-soundfont-gm]="measuring the composed corpus as it really sounds"
)
LOCK_SECONDS=${MUSICGEN_APT_SECONDS:-300} # how long another apt may take before this one gives up

present() {
    case "$1" in
        chromium) command -v chromium || command -v chromium-browser ;;
        postgresql) ls /usr/lib/postgresql/*/bin/initdb ;;
        fluid-soundfont-gm) ls "${MUSICGEN_SOUNDFONT:-/usr/share/sounds/sf2/FluidR3_GM.sf2}" ;;
    esac >/dev/null 2>&1
}

absent() {
    missing=()
    for package in "${!NEEDED[@]}"; do present "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ]
}

# apt-get waits for dpkg's lock by itself, and for that of its lists not at all.
update() {
    local said deadline=$((SECONDS + LOCK_SECONDS))
    until said=$(timeout 120 apt-get -q update 2>&1); do
        if ! grep -q "/lists/lock" <<<"$said" || [ $SECONDS -ge $deadline ]; then
            echo "apt-get update failed:"
            echo "$said"
            return
        fi
        sleep 5
    done
}

absent || exit 0
if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here."
elif [ "$(id -u)" -ne 0 ]; then
    echo "Only root may install packages."
else
    echo "Installing ${missing[*]} for the tests."
    export DEBIAN_FRONTEND=noninteractive
    update
    timeout 900 apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout="$LOCK_SECONDS" "${missing[@]}" ||
        echo "apt-get install failed with exit code $?."
    absent || exit 0
fi
for package in "${missing[@]}"; do
    echo "Not installed: $package (${NEEDED[$package]}): those tests will be skipped. apt install $package"
done
exit 0
