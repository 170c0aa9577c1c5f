# SPDX-License-Identifier: BSD-3-Clause
# Completion of tripod-sim for bash.

_tripod_sim()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local faults="kill freeze stall partition flap loss dup reorder corrupt restart add drain reconfigure flutter slow flood"
	local both="--nodes --k --workers --durability --switch --hash --predict --faults --duration --beyond"
	local word verb="" done=""

	both="$both --sizes --pcap --json"
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		run | sweep | flood | churn) verb=$word ;;
		esac
	done
	case $prev in
	--sizes | --pcap)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--switch)
		mapfile -t COMPREPLY < <(compgen -W "modulo two-stage resilient" -- "$cur")
		return
		;;
	--hash)
		mapfile -t COMPREPLY < <(compgen -W "outside-endpoint symmetric 5-tuple" -- "$cur")
		return
		;;
	--predict)
		mapfile -t COMPREPLY < <(compgen -W "none computed checked probed mistaken" -- "$cur")
		return
		;;
	--durability)
		mapfile -t COMPREPLY < <(compgen -W "async sync none" -- "$cur")
		return
		;;
	--faults)
		[[ $cur == *,* ]] && done=${cur%,*},
		mapfile -t COMPREPLY < <(compgen -P "$done" -W "all none $faults" -- "${cur##*,}")
		return
		;;
	--seed | --seeds | --jobs | --nodes | --k | --workers | --duration | --watch | --stop-after | --rate) return ;;
	esac
	case $verb in
	"") word="run sweep flood churn --help --version" ;;
	flood) word="--rate --nodes --seed --json" ;;
	churn) word="--k --switch --nodes --seed --json" ;;
	run) word="--seed --trace --watch --show-options --trace-hash $both" ;;
	sweep) word="--seeds --jobs --stop-after $both" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur")
}
complete -F _tripod_sim tripod-sim
