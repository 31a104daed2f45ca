mkdir -p "$RESULTS" && echo "prepared $RESULTS on $(hostname)"
